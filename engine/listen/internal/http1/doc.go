// Package http1 serves HTTP/1.0 and 1.1 (RFC 9110, RFC 9112) to plain
// http.Handlers, at less cost for a small request than net/http.
//
// What it spares: a connection has one request, one header map, one URL and one
// ResponseWriter, used again for each request; a head is one string, of which
// method, target, names and values are parts; headers of an answer are written
// where they stand; head and body of a small answer leave in one system call;
// and nothing reads ahead of a handler to see the client leave (see watch.go).
//
// What a handler may rely on is what net/http gives it, except:
//
//   - The *http.Request, its URL, Header and Trailer, and the ResponseWriter and
//     its Header end with the handler's return. Strings taken from them stay. The
//     request's context and body stay too: cancelled, and closed.
//   - There is no http.Hijacker, and no trailers of answers.
//   - A Transfer-Encoding set by the handler is not sent; the package chooses.
//
// Requests that are read in more than one way by servers and proxies are
// refused, which is stricter than net/http: see head.go.
package http1
