package disk

import "fmt"

// An OpKind is one kind of operation on a drive, as hooks and fault rules tell
// them apart.
type OpKind uint8

const (
	OpOpen OpKind = iota
	OpCreate
	OpRemove
	OpRename
	OpList
	OpMkdir
	OpStat
	OpSyncDir
	OpLock
	OpUsage
	OpRead
	OpWrite
	OpSync
	OpWriteback
	OpPreallocate
	OpTruncate
	opKinds // how many there are
)

var opNames = [opKinds]string{
	OpOpen: "open", OpCreate: "create", OpRemove: "remove", OpRename: "rename", OpList: "list",
	OpMkdir: "mkdir", OpStat: "stat", OpSyncDir: "syncdir", OpLock: "lock", OpUsage: "usage",
	OpRead: "read", OpWrite: "write", OpSync: "sync", OpWriteback: "writeback",
	OpPreallocate: "preallocate", OpTruncate: "truncate",
}

func (k OpKind) String() string {
	if k < opKinds {
		return opNames[k]
	}
	return fmt.Sprintf("OpKind(%d)", uint8(k))
}

// Mutates reports whether the operation may change what is, or what survives, on the drive.
func (k OpKind) Mutates() bool {
	switch k {
	case OpCreate, OpRemove, OpRename, OpMkdir, OpSyncDir, OpLock, OpWrite, OpSync, OpPreallocate, OpTruncate:
		return true
	}
	return false
}

// An Op is one operation about to happen.
type Op struct {
	Kind OpKind
	// N counts the mutating operations of the FS from 1; another kind carries
	// the number of the last mutating one before it.
	N    int64
	Name string // of the file now, also where it was opened under another
	To   string // of a rename
	// Off and Len are the range of a read, write, writeback or preallocate; Len
	// is the new size of a truncate.
	Off, Len int64
}

func (o Op) String() string {
	switch o.Kind {
	case OpRename:
		return fmt.Sprintf("%d: rename %s %s", o.N, o.Name, o.To)
	case OpRead, OpWrite, OpWriteback, OpPreallocate, OpTruncate:
		return fmt.Sprintf("%d: %s %s [%d,+%d]", o.N, o.Kind, o.Name, o.Off, o.Len)
	}
	return fmt.Sprintf("%d: %s %s", o.N, o.Kind, o.Name)
}
