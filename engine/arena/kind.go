package arena

// Kind is what pages a region got, best first.
type Kind int

// Kinds of pages.
const (
	Huge1G      Kind = iota // reserved pages of 1 GiB (MAP_HUGETLB)
	Huge2M                  // reserved pages of 2 MiB (MAP_HUGETLB)
	Transparent             // huge pages of 2 MiB that the kernel made of free memory (MADV_HUGEPAGE)
	Plain                   // the system's small pages
	kinds
)

func (k Kind) String() string {
	switch k {
	case Huge1G:
		return "huge-1g"
	case Huge2M:
		return "huge-2m"
	case Transparent:
		return "transparent"
	}
	return "plain"
}

// MarshalText lets a kind be a key or a value of JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// page is the size of a kind's pages in bytes, and what a region of it is a multiple of.
func (k Kind) page() int64 {
	if k == Huge1G {
		return 1 << 30
	}
	return HugePage
}

// HugePage is the size of a huge page in bytes, and what regions are aligned to
// whatever their kind.
const HugePage = 2 << 20
