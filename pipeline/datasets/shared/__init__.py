"""What several data sets use: archives, local folders, the layout of ChestX-ray14, and fetching files."""
