"""Paediatric chest radiographs of Kermany et al., see `dataset`."""
