// Package listen is the socket side of the server: addresses, TLS whose files
// may change, time-outs that judge progress and not size, and a stop that lets
// what has begun finish.
//
// It knows nothing of S3; it serves any http.Handler.
package listen
