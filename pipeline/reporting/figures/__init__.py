"""The figures of the reports, one file per page, in one style: safe for colour-blind readers, readable at half size."""
