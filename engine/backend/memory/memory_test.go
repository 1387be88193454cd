package memory_test

import (
	"testing"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/backend/backendtest"
	"github.com/cairnstore/cairn/engine/backend/memory"
)

func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return memory.New(memory.Options{}) })
}
