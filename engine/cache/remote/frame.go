package remote

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A frame is what Redis keeps under a key (docs/format/remote.md).
const (
	frameHeader  = 8
	frameVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errInvalid = errors.New("not a valid frame")

func encodeFrame(key, value []byte) []byte {
	b := make([]byte, frameHeader, frameHeader+len(key)+len(value))
	b[0], b[1], b[2], b[3] = 'C', 'R', frameVersion, byte(len(key))
	b = append(append(b, key...), value...)
	binary.LittleEndian.PutUint32(b[4:], frameCRC(b[:4], b[frameHeader:]))
	return b
}

func frameCRC(head, rest []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, rest)
}

// decodeFrame returns the value in a frame of this key. It lies within the frame.
func decodeFrame(b, key []byte) ([]byte, error) {
	if len(b) <= frameHeader+len(key) || b[0] != 'C' || b[1] != 'R' || b[2] != frameVersion || int(b[3]) != len(key) ||
		string(b[frameHeader:frameHeader+len(key)]) != string(key) ||
		binary.LittleEndian.Uint32(b[4:]) != frameCRC(b[:4], b[frameHeader:]) {
		return nil, errInvalid
	}
	return b[frameHeader+len(key):], nil
}
