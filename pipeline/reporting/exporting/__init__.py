"""Tables and figures of the reports in the formats of manuscripts."""
