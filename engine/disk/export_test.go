package disk

// WithFull lets the tests check the mapping of system errors.
var WithFull = withFull

// MountDiscards is for the tests of package disk_test.
var MountDiscards = mountDiscards
