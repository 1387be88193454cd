package load

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The thread of an open loop has its priority while it runs and not a moment longer, with
// whatever nice value the lab was started.
func TestPreferThread(t *testing.T) {
	priority := func() int {
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		require.NoError(t, err)
		return raw
	}
	done := make(chan struct{})
	go func() { // its thread may end with it
		defer close(done)
		end := preferThread(0)
		before := priority()
		end()
		end = preferThread(favour)
		preferred := priority()
		allowed := unix.Setpriority(unix.PRIO_PROCESS, 0, 20-preferred-1) == nil // not so in every container
		end()
		if allowed {
			require.Equal(t, before+favour, preferred)
		}
		require.Equal(t, before, priority())
	}()
	<-done
}
