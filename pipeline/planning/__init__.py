"""From a folder of images to the params.yaml of a study: what is there (`survey`), what follows from it (`rules`)."""
