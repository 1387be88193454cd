package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func value(t *testing.T, v View, err error) string {
	t.Helper()
	require.NoError(t, err)
	defer v.Release()
	return string(v.Value())
}

func TestOneOfManyLooksUp(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int32
		land := make(chan struct{})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				v, err := c.Load(t.Context(), []byte("k"), func(context.Context) ([]byte, error) {
					looks.Add(1)
					<-land
					return []byte("found"), nil
				})
				if err != nil || string(v.Value()) != "found" {
					t.Errorf("%q, %v", v.Value(), err)
				}
				v.Release()
			})
		}
		synctest.Wait()
		close(land)
		wg.Wait()
		require.EqualValues(t, 1, looks.Load())
	})
	require.Equal(t, "found", get(c, []byte("k")))
}

// Who comes after an invalidation does not get what was looked up before it.
func TestAFlightThatBeganBeforeAnInvalidationIsNotJoined(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	synctest.Test(t, func(t *testing.T) {
		land := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			v, err := c.Load(t.Context(), []byte("k"), func(context.Context) ([]byte, error) {
				<-land
				return []byte("old"), nil
			})
			if err != nil || string(v.Value()) != "old" {
				t.Errorf("%q, %v", v.Value(), err)
			}
		})
		synctest.Wait()
		c.Invalidate([]byte("k"))
		v, err := c.Load(t.Context(), []byte("k"), func(context.Context) ([]byte, error) { return []byte("new"), nil })
		require.Equal(t, "new", value(t, v, err))
		close(land)
		wg.Wait()
	})
	require.Equal(t, "new", get(c, []byte("k")), "the old flight must not land on the new value")
}

func TestAbsenceAndErrorsOfALookUp(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	key, looks := []byte("k"), 0
	look := func(err error) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { looks++; return nil, err }
	}
	broken := errors.New("broken")
	_, err := c.Load(t.Context(), key, look(broken))
	require.ErrorIs(t, err, broken)
	for range 3 {
		v, err := c.Load(t.Context(), key, look(ErrAbsent))
		require.NoError(t, err)
		require.True(t, v.Absent())
	}
	require.Equal(t, 2, looks, "an error is not kept, an absence is")
	c.Invalidate(key)
	v, err := c.Load(t.Context(), key, look(nil))
	require.NoError(t, err)
	require.True(t, v.Found())
	require.Empty(t, v.Value())
}

// The one who looks gives up: another takes over. It panics: the others are told.
func TestALookUpThatDoesNotEnd(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Load(ctx, []byte("k"), func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			v, err := c.Load(t.Context(), []byte("k"), func(context.Context) ([]byte, error) { return []byte("v"), nil })
			if err != nil || string(v.Value()) != "v" {
				t.Errorf("%q, %v", v.Value(), err)
			}
			v.Release()
		})
		gone, leave := context.WithCancel(t.Context())
		leave()
		_, err := c.Load(gone, []byte("k"), nil)
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		cancel()
		wg.Wait()

		land := make(chan struct{})
		wg.Go(func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = c.Load(t.Context(), []byte("p"), func(context.Context) ([]byte, error) { <-land; panic("p") })
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := c.Load(t.Context(), []byte("p"), nil); !errors.Is(err, errPanicked) {
				t.Error(err)
			}
		})
		synctest.Wait()
		close(land)
		wg.Wait()
	})
	for i := range c.flights {
		require.Empty(t, c.flights[i].byKey)
	}
}

func TestLoadOfWhatIsThereDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := openCache(t, Options{}, hooks{})
	key := []byte("k")
	c.Set(key, []byte("v"))
	calls := 0
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		v, _ := c.Load(context.Background(), key, func(context.Context) ([]byte, error) { calls++; return nil, nil })
		v.Release()
	}))
	require.Zero(t, calls)
}
