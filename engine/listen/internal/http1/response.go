package http1

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// The buffer of an answer, which goes out in one write with its head if it fits:
//
//	| room for the beginning | handler's fields, CR LF | room for a chunk's line | body … |
//
// The beginning is the status line and those fields that are known last, such as
// Content-Length of an answer that its handler has finished. It is written up
// against the handler's fields; the room for a chunk's line, where one may be
// needed, is closed by moving the head.
const (
	bufferSize    = 16 << 10
	beginningRoom = 320
	chunkRoom     = 16 + len("\r\n")
	chunkEnd      = "\r\n"
	chunkedEnd    = "0\r\n\r\n"
	sniffed       = 512 // octets that http.DetectContentType looks at
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// A response is the http.ResponseWriter of all answers of one connection. One
// goroutine at a time uses it.
type response struct {
	conn   *conn
	header http.Header

	pooled *[bufferSize]byte
	buf    []byte // in pooled, or larger
	room   [beginningRoom]byte
	one    [1][]byte // of Write
	fields int       // end of the handler's fields in buf
	start  int       // of the body in buf

	isHead    bool // of the request, which its handler may change
	minor     int
	last      bool // the client or the server wants no other request
	status    int  // 0: WriteHeader was not called
	sent      bool // the head is on its way
	finished  bool // the handler has returned
	chunked   bool
	bodiless  bool // the status allows no body
	close     bool // the connection ends with this answer
	linger    bool // and the client may still be sending
	duplex    bool
	deadline  bool // the handler set a write deadline
	dated     bool // fields that the handler has set
	typed     bool
	encoded   bool
	identity  bool
	length    int64    // declared; -1: not
	written   int64    // by the handler
	connected []string // the handler's Connection field

	continuing struct {
		sync.Mutex
		possible bool // 100 Continue may still be sent
	}
}

// begin makes w ready for the answer to h's request.
func (w *response) begin(h *head) {
	w.isHead, w.minor, w.last = h.request.Method == http.MethodHead, h.request.ProtoMinor, h.request.Close
	w.status, w.fields, w.start, w.length, w.written = 0, 0, 0, -1, 0
	w.sent, w.finished, w.chunked, w.bodiless, w.close, w.linger, w.duplex, w.deadline = false, false, false, false, false, false, false, false
	w.dated, w.typed, w.encoded, w.identity, w.connected = false, false, false, false, nil
	if h.expects {
		w.continuing.Lock()
		w.continuing.possible = true
		w.continuing.Unlock()
	}
}

// release gives the buffer back.
func (w *response) release() {
	if w.pooled != nil {
		buffers.Put(w.pooled)
	}
	w.pooled, w.buf, w.start = nil, nil, 0
}

// Header implements http.ResponseWriter. What is set after WriteHeader is not sent.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. 1xx but 101 go out at once.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		w.conn.server.Log.Debug("http: superfluous call of WriteHeader", "status", status, "sent", w.status)
		return
	}
	if status < 100 || status > 999 {
		panic("http1: invalid status " + strconv.Itoa(status))
	}
	if w.conn.head.expects && (status < 101 || status > 199) {
		w.continuing.Lock()
		w.continuing.possible = false
		w.continuing.Unlock()
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
		return
	}
	w.status = status
	w.bodiless = status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
	if w.pooled == nil {
		w.pooled = buffers.Get().(*[bufferSize]byte)
		w.buf = w.pooled[:]
	}
	w.buf = w.buf[:beginningRoom]
	for name, values := range w.header {
		w.appendFields(name, values)
	}
	w.buf = append(w.buf, "\r\n"...)
	w.fields = len(w.buf)
	if w.length < 0 && !w.bodiless {
		var room [chunkRoom]byte
		w.buf = append(w.buf, room[:]...)
	}
	w.start = len(w.buf)
}

// inform sends a 1xx answer.
func (w *response) inform(status int) {
	b := appendStatus(make([]byte, 0, 512), w.minor, status)
	for name, values := range w.header {
		if name == "Content-Length" || name == "Transfer-Encoding" {
			continue
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	_ = w.conn.send(append(b, "\r\n"...))
}

// goOn tells a client that waits for it to send its body, if nothing else has been told.
func (w *response) goOn() {
	w.continuing.Lock()
	defer w.continuing.Unlock()
	if w.continuing.possible {
		w.continuing.possible = false
		_ = w.conn.send([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// appendFields writes the handler's fields of one name, or notes them where
// something else decides.
func (w *response) appendFields(name string, values []string) {
	if len(values) == 0 {
		return
	}
	switch name {
	case "Content-Length":
		if n, err := strconv.ParseInt(values[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		} else if values[0] != "" {
			w.conn.server.Log.Debug("http: invalid Content-Length of an answer", "value", values[0])
		}
		return
	case "Connection":
		w.connected = values
		w.close = w.close || values[0] == "close"
		return
	case "Transfer-Encoding":
		w.identity, w.encoded = values[0] == "identity", true
		return
	case "Content-Type":
		w.typed = true
		if w.status == http.StatusNotModified {
			return
		}
	case "Content-Encoding":
		w.encoded = w.encoded || values[0] != ""
	case "Date":
		w.dated = true
	}
	for _, v := range values {
		w.buf = appendField(w.buf, name, v)
	}
}

// appendField appends a field. A name that is none is left out; a value's line
// ends become spaces, so that it cannot begin another field or a body.
func appendField(b []byte, name, value string) []byte {
	if name == "" || !tokens.only(name) {
		return b
	}
	b = append(b, name...)
	b = append(b, ": "...)
	from := len(b)
	b = append(b, value...)
	if v := b[from:]; len(v) > 0 && (hasControl(v) || v[0] <= ' ' || v[len(v)-1] <= ' ') {
		for i, c := range v {
			if c == '\r' || c == '\n' || c == 0 {
				v[i] = ' '
			}
		}
		b = append(b[:from], trim(v)...)
	}
	return append(b, "\r\n"...)
}

func appendStatus(b []byte, minor, status int) []byte {
	if minor == 0 {
		b = append(b, "HTTP/1.0 "...)
	} else {
		b = append(b, "HTTP/1.1 "...)
	}
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, "\r\n"...)
}

// Write implements http.ResponseWriter. What fits the buffer waits there for
// more, or for the handler's return.
func (w *response) Write(p []byte) (int, error) {
	if ok, err := w.admit(len(p)); !ok {
		return 0, err
	}
	if w.isHead {
		w.sniff(p)
		return len(p), nil
	}
	if len(p) <= bufferSize-len(chunkEnd+chunkedEnd)-len(w.buf) {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	w.one[0] = p
	n, err := w.drain(w.one[:], len(p))
	w.one[0] = nil
	return int(n), err
}

// WriteVector is Write of all pieces as one: either all of them are within what
// the head has declared, or none is sent. Where they do not fit the buffer they
// go to the connection as they lie, in one vector. It borrows them until it returns.
func (w *response) WriteVector(pieces [][]byte) (int64, error) {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if ok, err := w.admit(size); !ok {
		return 0, err
	}
	if !w.isHead && size > bufferSize-len(chunkEnd+chunkedEnd)-len(w.buf) {
		return w.drain(pieces, size)
	}
	for _, p := range pieces {
		if w.isHead {
			w.sniff(p)
		} else {
			w.buf = append(w.buf, p...)
		}
	}
	return int64(size), nil
}

// sniff keeps the beginning of a body that is not sent, to tell its type.
func (w *response) sniff(p []byte) {
	if room := sniffed - (len(w.buf) - w.start); room > 0 && !w.sent {
		w.buf = append(w.buf, p[:min(room, len(p))]...)
	}
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) {
	// Strings are short; one that is not is worth its copy.
	if w.status != 0 && !w.isHead && len(s) <= bufferSize-len(chunkEnd+chunkedEnd)-len(w.buf) {
		if ok, err := w.admit(len(s)); !ok {
			return 0, err
		}
		w.buf = append(w.buf, s...)
		return len(s), nil
	}
	return w.Write([]byte(s))
}

// admit counts n octets of body in, if there may be so many.
func (w *response) admit(n int) (bool, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if n == 0 {
		return false, nil
	}
	if w.bodiless {
		return false, http.ErrBodyNotAllowed
	}
	w.written += int64(n)
	if w.length >= 0 && w.written > w.length {
		return false, http.ErrContentLength
	}
	if w.pooled == nil { // all so far was sent
		w.pooled = buffers.Get().(*[bufferSize]byte)
		w.buf = w.pooled[:chunkRoom]
		w.start = chunkRoom
	}
	return true, nil
}

// FlushError sends what is there; it is http.ResponseController's Flush.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	_, err := w.drain(nil, 0)
	return err
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// EnableFullDuplex is http.ResponseController's: the head is then sent without
// reading the rest of the request first.
func (w *response) EnableFullDuplex() error {
	w.duplex = true
	return nil
}

// SetReadDeadline is http.ResponseController's. It holds for a read that waits;
// the next read of the body sets its own.
func (w *response) SetReadDeadline(t time.Time) error { return w.conn.net.SetReadDeadline(t) }

// SetWriteDeadline is http.ResponseController's.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.deadline = true
	return w.conn.net.SetWriteDeadline(t)
}

// finish sends the rest of an answer after its handler's return.
func (w *response) finish() {
	w.finished = true
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	_, _ = w.drain(nil, 0)
	w.release()
}

// drain sends the head, if it is not gone, what is in the buffer, and the pieces,
// which are n octets. It returns how much of these was sent.
func (w *response) drain(pieces [][]byte, n int) (int64, error) {
	size := len(w.buf) - w.start + n
	if w.sent && size == 0 && !(w.finished && w.chunked) {
		return 0, nil
	}
	if w.buf == nil {
		w.pooled = buffers.Get().(*[bufferSize]byte)
		w.buf, w.start = w.pooled[:chunkRoom], chunkRoom
	}
	first := !w.sent
	var beginning []byte
	if first {
		w.sent = true
		beginning = w.appendBeginning(w.room[:0], pieces)
		if w.isHead {
			w.buf, size = w.buf[:w.start], 0
		}
	}
	at, tail := w.start, ""
	if w.chunked {
		at, tail = w.frameChunk(size)
	}
	if first {
		// The head moves up to what follows it, and the beginning up to the head.
		fields := w.buf[beginningRoom:w.fields]
		at -= len(fields)
		copy(w.buf[at:], fields)
		if at < len(beginning) { // by a long Connection field
			w.buf = append(beginning[:len(beginning):len(beginning)], w.buf[at:]...)
			at = len(beginning)
		}
		at -= len(beginning)
		copy(w.buf[at:], beginning)
	}
	sent, err := w.conn.sendAll(w.buf[at:], pieces, tail)
	sent -= int64(len(w.buf) - at)
	w.release()
	return max(0, min(int64(n), sent)), err
}

// frameChunk makes a chunk of size octets, which begin at w.start. It returns
// where its line begins, and what follows the data.
func (w *response) frameChunk(size int) (at int, tail string) {
	switch {
	case size == 0 && w.finished:
		return w.start, chunkedEnd
	case size == 0:
		return w.start, ""
	}
	var room [chunkRoom]byte
	line := append(strconv.AppendUint(room[:0], uint64(size), 16), "\r\n"...)
	at = w.start - len(line)
	copy(w.buf[at:], line)
	if w.finished {
		return at, chunkEnd + chunkedEnd
	}
	return at, chunkEnd
}

// appendBeginning decides what is still open about the head and appends its
// beginning. The pieces follow what is in the buffer.
func (w *response) appendBeginning(b []byte, pieces [][]byte) []byte {
	if w.finished && w.length < 0 && !w.bodiless && !w.identity && (!w.isHead || w.written > 0) {
		w.length = w.written
	}
	http10 := w.minor == 0
	keep := http10 && w.conn.head.keepAlive && (w.isHead || w.length >= 0 || w.bodiless)
	if w.last || http10 && !keep || w.conn.server.stopping.Load() {
		w.close = true
	}
	w.settleBody()
	framed := w.isHead || w.bodiless || w.length >= 0
	w.chunked = !framed && !http10 && !w.identity
	if !framed && !w.chunked {
		w.close = true
	}

	b = appendStatus(b, w.minor, w.status)
	if !w.dated {
		b = appendDate(b, time.Now())
	}
	if w.length >= 0 && !w.bodiless {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, w.length, 10)
		b = append(b, "\r\n"...)
	}
	if w.chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if body := w.buf[w.start:]; !w.bodiless && !w.typed && !w.encoded && !w.identity && len(body)+len(pieces) > 0 {
		if len(body) == 0 {
			body = pieces[0]
		}
		b = appendField(b, "Content-Type", http.DetectContentType(body))
	}
	return w.appendConnection(b, http10, keep)
}

// appendConnection says whether the connection stays.
func (w *response) appendConnection(b []byte, http10, keep bool) []byte {
	switch {
	case len(w.connected) > 0 && (!w.close || w.status == http.StatusSwitchingProtocols || has(w.connected, "close")):
		for _, v := range w.connected {
			b = appendField(b, "Connection", v)
		}
	case w.close && !http10:
		b = append(b, "Connection: close\r\n"...)
	case !w.close && keep:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

// settleBody sees to the rest of the request before its answer begins: it is
// read, since there are clients that send all before they read anything, or
// the connection ends with the answer. A client that waits for 100 Continue
// and never got it may send its body or not, so the connection ends too.
func (w *response) settleBody() {
	c := w.conn
	if c.body == nil || c.body.ended() {
		return
	}
	if w.close || c.head.expects || !w.duplex && !c.body.discard() {
		w.close, w.linger = true, true
	}
}
