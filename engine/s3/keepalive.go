package s3

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"time"
)

// slowly runs work, which may outlast what clients and proxies wait for, and
// answers with the headers that head sets and the document that answer writes.
// work has a goroutine of its own and must not touch the answer: it keeps what it
// finds for head and answer, which run after it.
//
// A quick work answers as any other operation. For one still running after the
// handler's keepAlive, status 200 and the prolog go out, then whitespace at that
// interval, and the result, or the error, follows in the same document: S3's
// way for CompleteMultipartUpload and CopyObject ("200 OK can contain an error").
// What head would set is lost then.
func (c *call) slowly(work func() error, head func(), answer func(*xmlWriter)) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		done <- work()
	}()
	tick := time.NewTicker(c.h.keepAlive)
	defer tick.Stop()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
		head()
		return c.respond(answer)
	case <-tick.C:
	}

	c.out["Content-Type"] = valueXML
	c.writeHeader(http.StatusOK)
	c.send(xmlProlog)
	for {
		select {
		case err := <-done:
			x := newXML()
			defer x.free()
			if err != nil {
				w := refusalOf(err)
				c.record.Code, c.record.Err = w.name, err
				c.h.logger.Warn("request failed after its status was sent", "request_id", c.record.RequestID,
					"operation", c.record.Operation, "bucket", c.bucket, "key", c.key, "code", w.name, "error", err)
				c.errorXML(x, w)
			} else {
				answer(x)
			}
			n, _ := c.w.Write(x.b)
			c.record.Out += int64(n)
			return nil
		case <-tick.C:
			c.send(" ")
		}
	}
}

// send writes and flushes. A client that is gone is found out by the request's
// context, which work watches.
func (c *call) send(s string) {
	n, _ := c.w.Write([]byte(s))
	c.record.Out += int64(n)
	_ = http.NewResponseController(c.w).Flush()
}
