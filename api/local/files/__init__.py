"""The files of the local API, in a folder of this machine or in a place that several fronts share."""
