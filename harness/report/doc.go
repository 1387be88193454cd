// Package report shows records to people: as tables on a terminal, and as one
// HTML file that needs nothing else, with charts drawn as SVG.
//
// A page is for whoever reads it: light and dark as the reader's system is,
// wide and narrow, and each chart has its figures as a table below it for those
// who do not see it.
package report
