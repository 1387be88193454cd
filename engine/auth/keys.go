package auth

import (
	"hash/maphash"
	"strings"
	"sync"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

const (
	keyShards = 16
	// maxShardKeys bounds a shard. A key lives for one access key, date and
	// region; past the bound all of the shard's are forgotten and derived again
	// (four HMACs) as they are asked for.
	maxShardKeys = 512
)

// keys remembers signing keys. Each remembers the secret it came from, so that
// a rotated secret counts from the next request on. Safe for concurrent use.
type keys struct {
	seed   maphash.Seed
	shards [keyShards]struct {
		mu sync.RWMutex
		of map[keyName]*signingKey
	}
}

type keyName struct{ accessKey, date, region string }

type signingKey struct {
	*sigv4.Key
	secret string
	// accessKey is a copy that does not hold on to a request's headers.
	accessKey string
}

func newKeys() *keys {
	k := &keys{seed: maphash.MakeSeed()}
	for i := range k.shards {
		k.shards[i].of = map[keyName]*signingKey{}
	}
	return k
}

func (k *keys) get(c credential, secret string) *signingKey {
	name := keyName{c.accessKey, c.date, c.region}
	shard := &k.shards[maphash.String(k.seed, c.accessKey)%keyShards]
	shard.mu.RLock()
	key := shard.of[name]
	shard.mu.RUnlock()
	if key != nil && key.secret == secret {
		return key
	}
	name = keyName{strings.Clone(c.accessKey), strings.Clone(c.date), strings.Clone(c.region)}
	key = &signingKey{Key: sigv4.NewKey(secret, c.date, c.region), secret: secret, accessKey: name.accessKey}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if len(shard.of) >= maxShardKeys {
		clear(shard.of)
	}
	shard.of[name] = key
	return key
}
