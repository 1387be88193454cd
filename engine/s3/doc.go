// Package s3 is the wire: it turns HTTP requests of the S3 REST API into calls
// of object.API and their results into S3's headers and XML.
//
//	ServeHTTP -> route -> authenticate -> screen headers -> operation -> object.API
//
// The table in route.go says which operation a request means. One file keeps
// each family of operations; what a request asks for and is not built is
// refused with NotImplemented, never served as the plainer operation.
//
// Keys are taken from the request's path as it was sent. Nothing cleans a path:
// a key may hold `//`, `..`, NUL or any other character.
//
// The source for names, shapes and codes is the Amazon S3 API Reference,
// version 2006-03-01.
package s3
