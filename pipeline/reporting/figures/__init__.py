"""The figures of the reports, a file a page, in one style: safe for colour-blind readers, readable at half size."""
