package disk

import (
	"errors"
	"syscall"
)

// fullError is a system error that also matches ErrFull.
type fullError struct{ error }

func (e fullError) Is(target error) bool { return target == ErrFull }
func (e fullError) Unwrap() error        { return e.error }

// withFull makes what the system says of a full drive or quota match ErrFull
// as well; what it said stays in the chain, for libraries that look for it.
func withFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fullError{err}
	}
	return err
}

// Full reports that something found no room on a drive, or over its quota.
func Full(err error) bool { return errors.Is(withFull(err), ErrFull) }

// OverQuota reports that the drive has room, and not for this process's user.
func OverQuota(err error) bool { return errors.Is(err, syscall.EDQUOT) }

// Starved reports that the process or the machine was short of descriptors or
// memory: an error that says nothing of what is on the drive.
func Starved(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// Failed reports that the drive, or what connects it, could not do what it was asked for (EIO).
func Failed(err error) bool { return errors.Is(err, syscall.EIO) }
