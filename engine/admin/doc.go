// Package admin is the operators' wire: health and metrics over HTTP, beside
// the S3 API on its port and alone on a port of their own.
package admin
