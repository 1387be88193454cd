package engine

import (
	"github.com/cairnstore/cairn/engine/s3"
	"github.com/cairnstore/cairn/engine/telemetry"
)

// observer tells telemetry what the wire did.
type observer struct {
	requests *telemetry.Requests
	log      telemetry.AccessLog
}

func (o *observer) Started() { o.requests.Begin() }

func (o *observer) Finished(r *s3.Record) {
	q := telemetry.Request{Operation: r.Operation, Status: r.Status, Code: r.Code, In: r.In, Out: r.Out, Duration: r.Duration}
	o.requests.Done(q)
	if r.Code == "SlowDown" { // and not what a store that has failed refuses
		o.requests.Refused()
	}
	if !o.log.Wants(r.Status, r.Duration) {
		return
	}
	o.log.Write(r.Request.Context(), telemetry.Access{
		Request:   q,
		RequestID: r.RequestID,
		Method:    r.Request.Method,
		Bucket:    r.Bucket,
		Key:       r.Key,
		Remote:    r.Request.RemoteAddr,
		AccessKey: r.AccessKey,
		UserAgent: r.Request.UserAgent(),
		Err:       r.Err,
	})
}
