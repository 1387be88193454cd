package disk

import "io"

// salvageBlock is what a drive gives up at a time, or a multiple of it.
const salvageBlock = 4 << 10

// Salvage is inner for who wants what can still be read: where a read fails with EIO, each
// block that the drive can't read, 4 KiB, is read as zeros, lost is told of it, and the
// read goes on. So only for readers that know from a checksum what is whole.
func Salvage(inner FS, lost func(name string, off int64)) FS { return salvageFS{inner, lost} }

type salvageFS struct {
	FS
	lost func(name string, off int64)
}

func (s salvageFS) Open(name string) (File, error)   { return s.wrap(name)(s.FS.Open(name)) }
func (s salvageFS) Create(name string) (File, error) { return s.wrap(name)(s.FS.Create(name)) }

func (s salvageFS) wrap(name string) func(File, error) (File, error) {
	return func(f File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &salvageFile{f, name, s.lost}, nil
	}
}

type salvageFile struct {
	File
	name string
	lost func(name string, off int64)
}

func (f *salvageFile) ReadAt(p []byte, off int64) (n int, err error) {
	if n, err = f.File.ReadAt(p, off); !Failed(err) {
		return n, err
	}
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	for n = 0; n < len(p); {
		at := off + int64(n)
		if at >= size {
			return n, io.EOF
		}
		b := p[n:min(int64(len(p)), int64(n)+min(salvageBlock-at%salvageBlock, size-at))]
		m, err := f.File.ReadAt(b, at)
		switch {
		case m == len(b):
		case Failed(err):
			clear(b)
			f.lost(f.name, at)
		default:
			return n + m, err
		}
		n += len(b)
	}
	return n, nil
}
