package load

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// A Spread says how requests choose among the stored objects.
type Spread uint8

// The ways of choosing.
const (
	// UniformKeys: each object as often as another.
	UniformKeys Spread = iota
	// ZipfKeys: the object of rank k with a weight of 1/(1+k)^Exponent; ranks
	// lie scattered over the names.
	ZipfKeys
	// HotKeys: a share of the objects gets a share of the requests.
	HotKeys
	// SequentialKeys: all clients together walk the objects in order, over and over.
	SequentialKeys
	// RecordedKeys: all clients together follow a trace, over and over.
	RecordedKeys
)

// A Choice is a Spread with its parameters.
type Choice struct {
	Spread   Spread
	Exponent float64 // of ZipfKeys; above 1
	// HotObjects and HotRequests are shares between 0 and 1: of the objects, and
	// of the requests that go to them.
	HotObjects, HotRequests float64
	Trace                   []uint64 // numbers of objects, for RecordedKeys
}

func (c Choice) validate(stored uint64) error {
	switch c.Spread {
	case UniformKeys, SequentialKeys:
	case ZipfKeys:
		if c.Exponent <= 1 {
			return fmt.Errorf("load: a zipf exponent of %g: must be above 1", c.Exponent)
		}
	case HotKeys:
		if !(c.HotObjects > 0 && c.HotObjects < 1 && c.HotRequests > 0 && c.HotRequests < 1) {
			return errors.New("load: the shares of a hot set must lie between 0 and 1")
		}
	case RecordedKeys:
		if len(c.Trace) == 0 {
			return errors.New("load: a recorded choice needs a trace")
		}
		for _, id := range c.Trace {
			if id >= stored {
				return fmt.Errorf("load: the trace asks for object %d of %d", id, stored)
			}
		}
	default:
		return fmt.Errorf("load: no spread %d", c.Spread)
	}
	return nil
}

// A chooser makes one client's choices. It does not allocate.
type chooser struct {
	Choice
	random *rand.Rand
	stored uint64
	hot    uint64
	zipf   *rand.Zipf
	step   *atomic.Uint64 // shared by all clients
}

func newChooser(c Choice, stored uint64, random *rand.Rand, step *atomic.Uint64) *chooser {
	k := &chooser{Choice: c, random: random, stored: stored, step: step}
	switch c.Spread {
	case ZipfKeys:
		k.zipf = rand.NewZipf(random, c.Exponent, 1, max(stored, 1)-1)
	case HotKeys:
		k.hot = max(1, uint64(float64(stored)*c.HotObjects))
	}
	return k
}

func (k *chooser) next() uint64 {
	switch k.Spread {
	case ZipfKeys:
		return scatter(k.zipf.Uint64(), k.stored)
	case HotKeys:
		if k.hot == k.stored || k.random.Float64() < k.HotRequests {
			return scatter(k.random.Uint64N(k.hot), k.stored)
		}
		return scatter(k.hot+k.random.Uint64N(k.stored-k.hot), k.stored)
	case SequentialKeys:
		return (k.step.Add(1) - 1) % k.stored
	case RecordedKeys:
		return k.Trace[(k.step.Add(1)-1)%uint64(len(k.Trace))]
	}
	return k.random.Uint64N(k.stored)
}

// scatter is a bijection on the numbers below n: a product with a prime, which
// has no divisor in common with any n below it.
func scatter(x, n uint64) uint64 {
	const prime = 0xffffffffffffffc5 // the largest below 2^64
	hi, lo := bits.Mul64(x, prime)
	return bits.Rem64(hi, lo, n)
}
