package load

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// An Op is a kind of request.
type Op uint8

// The operations. A Put makes a new object, an Overwrite a new generation of a
// stored one. A List is one page of up to 1,000 keys: a client walks the
// stored keys from first to last, page by page, over and over.
const (
	Put Op = iota
	Get
	Head
	List
	Delete
	Overwrite
	MultipartUpload
	numOps
)

var opNames = [numOps]string{"PUT", "GET", "HEAD", "LIST", "DELETE", "OVERWRITE", "MULTIPART"}

// OpNames are the names of all operations.
func OpNames() []string { return slices.Clone(opNames[:]) }

// OpByName finds an operation; the case of letters does not matter.
func OpByName(name string) (Op, bool) {
	i := slices.Index(opNames[:], strings.ToUpper(name))
	return Op(max(i, 0)), i >= 0
}

func (o Op) String() string { return opNames[o] }

// A Share is one operation's weight in a mix.
type Share struct {
	Op     Op
	Weight int
}

// errExhausted: a delete-only load has deleted every stored object.
var errExhausted = errors.New("no object left to delete")

// A Workspace is what the clients of one load work on together.
type Workspace struct {
	Bucket string
	Bodies *Bodies
	// Stored are objects that are there before the load (Preload puts them).
	// Gets, heads and overwrites choose among them by Choice; lists walk them,
	// and expect nothing else under their prefix; deletes take each once, unless
	// the mix has puts: then they delete what was put.
	Stored Keys
	Choice Choice
	// Fresh names what puts write, each name once. Its Count is not used.
	Fresh Keys
	// Multipart is for uploads in parts, which are named as Fresh names them.
	Multipart *Multipart

	fresh, deleted, step atomic.Uint64
	// generations are the newest ones begun of the stored objects; nil where
	// nothing overwrites them.
	generations []atomic.Uint64
}

// A client makes operations over one connection. It allocates nothing for one
// that succeeds.
type client struct {
	*Conn
	ws         *Workspace
	random     *rand.Rand
	choice     *chooser
	unverified float64
	onlyDelete bool

	path  []byte
	query []byte
	body  *Body
	match matcher
	mine  []uint64 // put by this client and not deleted since
	walk  walk
	q     request

	uploaded uint64 // the last upload in parts
}

func newClient(conn *Conn, ws *Workspace, seed, number uint64) *client {
	c := &client{
		Conn: conn, ws: ws, random: rand.New(rand.NewPCG(seed, number)),
		path: make([]byte, 0, 256), query: make([]byte, 0, 1024),
		body: ws.Bodies.NewBody(), mine: make([]uint64, 0, 1024),
	}
	c.match.body = c.body
	c.choice = newChooser(ws.Choice, ws.Stored.Count, c.random, &ws.step)
	return c
}

// perform makes one operation. bytes counts bodies either way, items the keys
// that a page listed, else 1. did is what was really done: a delete with
// nothing to delete becomes a put.
func (c *client) perform(op Op, now time.Time) (did Op, bytes, items int64, err error) {
	switch op {
	case Put:
		id := c.ws.fresh.Add(1) - 1
		if bytes, err = c.put(now, c.ws.Fresh, id, 0); err == nil && len(c.mine) < cap(c.mine) {
			c.mine = append(c.mine, id)
		}
	case Overwrite:
		id := c.choice.next()
		bytes, err = c.put(now, c.ws.Stored, id, c.ws.generations[id].Add(1))
	case MultipartUpload:
		c.uploaded = c.ws.fresh.Add(1) - 1
		bytes, err = c.multipart(now, c.uploaded)
	case Get:
		bytes, err = c.get(now, c.choice.next())
	case Head:
		err = c.head(now, c.choice.next())
	case List:
		bytes, items, err = c.page(now)
		return op, bytes, items, err
	case Delete:
		if len(c.mine) == 0 && !c.onlyDelete {
			return c.perform(Put, now)
		}
		err = c.delete(now)
	}
	return op, bytes, 1, err
}

func (c *client) object(keys Keys, id uint64) []byte {
	p := append(c.path[:0], '/')
	p = append(p, c.ws.Bucket...)
	p = append(p, '/')
	c.path = keys.append(p, id)
	return c.path
}

func (c *client) put(now time.Time, keys Keys, id, generation uint64) (int64, error) {
	c.body.Set(id, generation)
	c.q = request{
		method: "PUT", path: c.object(keys, id), payload: c.body.SHA256(),
		prefix: c.body.Prefix, tail: c.body.Tail, want: 200,
	}
	if _, err := c.do(now, &c.q, nothing{}); err != nil {
		return 0, err
	}
	return int64(c.body.Size()), nil
}

func (c *client) get(now time.Time, id uint64) (int64, error) {
	c.q = request{method: "GET", path: c.object(c.ws.Stored, id), payload: emptyPayload, want: 200}
	var n int64
	var err error
	c.body.Set(id, 0)
	if c.unverified > 0 && c.random.Float64() < c.unverified {
		n, err = c.do(now, &c.q, nothing{})
	} else {
		c.match.reset(c.ws.generations != nil)
		n, err = c.do(now, &c.q, &c.match)
		if err == nil && c.match.any {
			if e := c.match.whole(c.ws.generations[id].Load()); e != nil {
				err = badBody{e}
			}
		}
	}
	if err == nil && n != int64(c.body.Size()) {
		err = badBody{fmt.Errorf("body has %d bytes of %d", n, c.body.Size())}
	}
	return n, err
}

func (c *client) head(now time.Time, id uint64) error {
	c.q = request{method: "HEAD", path: c.object(c.ws.Stored, id), payload: emptyPayload, want: 200, noBody: true}
	_, err := c.do(now, &c.q, nothing{})
	return err
}

func (c *client) delete(now time.Time) error {
	keys := c.ws.Fresh
	var id uint64
	if c.onlyDelete {
		keys = c.ws.Stored
		if id = c.ws.deleted.Add(1) - 1; id >= keys.Count {
			return errExhausted
		}
	} else {
		id = c.mine[len(c.mine)-1]
		c.mine = c.mine[:len(c.mine)-1]
	}
	c.q = request{method: "DELETE", path: c.object(keys, id), payload: emptyPayload, want: 204}
	_, err := c.do(now, &c.q, nothing{})
	return err
}

// walk is a client's place in a listing.
type walk struct {
	token []byte // empty: at the beginning
	next  uint64 // number of the key that must come next
	text  []byte // the page
	key   []byte
}

func (w *walk) take(p []byte) error {
	w.text = append(w.text, p...)
	return nil
}

// page reads the next page of the stored keys (ListObjectsV2) and checks that
// exactly the right keys are on it, in order.
func (c *client) page(now time.Time) (bytes, keys int64, err error) {
	w := &c.walk
	q := c.query[:0]
	if len(w.token) > 0 {
		q = append(q, "continuation-token="...)
		q = appendQueryEscaped(q, w.token)
		q = append(q, '&')
	}
	q = append(q, "list-type=2&max-keys=1000&prefix="...)
	c.query = append(q, c.ws.Stored.Prefix...)
	p := append(c.path[:0], '/')
	c.path = append(p, c.ws.Bucket...)
	c.q = request{method: "GET", path: c.path, query: c.query, payload: emptyPayload, want: 200}

	w.text = w.text[:0]
	bytes, err = c.do(now, &c.q, w)
	if err == nil {
		keys, err = w.check(c.ws.Stored)
	}
	if err != nil {
		w.token, w.next = w.token[:0], 0
	}
	return bytes, keys, err
}

// check walks the page's keys and takes its continuation token.
func (w *walk) check(stored Keys) (keys int64, err error) {
	text := w.text
	for {
		key, rest, ok := xmlElement(text, "Key")
		if !ok {
			break
		}
		w.key = stored.append(w.key[:0], w.next)
		if w.next >= stored.Count || !bytes.Equal(key, w.key) {
			return keys, badBody{fmt.Errorf("page lists %.60q where %q (%d of %d) comes next", key, w.key, w.next, stored.Count)}
		}
		w.next++
		keys++
		text = rest
	}
	if more, _, _ := xmlElement(w.text, "IsTruncated"); string(more) == "true" {
		token, _, ok := xmlElement(w.text, "NextContinuationToken")
		if !ok || len(token) == 0 || keys == 0 {
			return keys, badBody{errors.New("page says there is more, and not where")}
		}
		if w.token, err = appendXMLText(w.token[:0], token); err != nil {
			return keys, badBody{err}
		}
		return keys, nil
	}
	if w.next != stored.Count {
		return keys, badBody{fmt.Errorf("listing ended after %d keys of %d", w.next, stored.Count)}
	}
	w.token, w.next = w.token[:0], 0
	return keys, nil
}
