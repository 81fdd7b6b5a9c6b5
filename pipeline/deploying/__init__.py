"""After the study: its models on new images, and as files that run elsewhere.

========== =========================================================================================================
module     holds
========== =========================================================================================================
choice     which configuration or ensemble is meant, and what validation fits for it
recipe     everything beside the weights that turns an image into an answer, as one JSON-compatible record
network    the members as one network with its normalisation inside; this and heat import torch, no other module
bundle     a folder with the network as ONNX, verified, and its recipe; made once per model and kept in tmp/
sources    from files, folders, patterns and tables to images
flags      what makes an image unlike those that the model was made for
heat       heat maps of the images, as files and for the page
running    images to rows, in constant memory, resumed where it was interrupted
page       the rows as one self-contained HTML page
dicom      the rows of DICOM files as structured reports and Secondary Capture; with it dicom_origin (whose a file
           is), dicom_codes (concepts and identifiers), dicom_pictures (what the captures show)
export     the model as a folder that runs without this project
registry   such a folder with a name, where git and DVC keep its versions
========== =========================================================================================================
"""
