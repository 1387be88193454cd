// Package caller tells the requests of one connection from those of others, for
// whoever learns from the order in which a client asks.
package caller

import (
	"context"
	"sync/atomic"
)

// Key is that of a context's caller: a Number.
var Key any = key{}

type key struct{}

// A Number is a connection's, unlike all others of this process. 0: none is known.
type Number uint64

var last atomic.Uint64

// New gives out a number.
func New() Number { return Number(last.Add(1)) }

// Of returns the caller of a request.
func Of(ctx context.Context) Number {
	n, _ := ctx.Value(Key).(Number)
	return n
}

// With returns a context of a caller, for requests that come over no connection.
func With(ctx context.Context, n Number) context.Context { return context.WithValue(ctx, Key, n) }
