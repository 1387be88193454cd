package disk

// WithFull lets the tests check the mapping of system errors.
var WithFull = withFull
