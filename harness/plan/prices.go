package plan

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Prices are what the user pays. What is 0 costs nothing.
type Prices struct {
	Currency string `yaml:"currency" json:"currency"`
	// Bought once.
	Node       float64 `yaml:"node" json:"node"`
	DriveTB    float64 `yaml:"drive_per_tb" json:"drive_per_tb"`
	MemoryGiB  float64 `yaml:"memory_per_gib" json:"memory_per_gib"`
	NodeMonth  float64 `yaml:"node_per_month" json:"node_per_month"` // rent, power, room
	DriveMonth float64 `yaml:"drive_tb_per_month" json:"drive_tb_per_month"`
}

// Cost is of a plan.
type Cost struct {
	Currency string  `json:"currency"`
	Once     float64 `json:"once"`
	Month    float64 `json:"per_month"`
}

// LoadPrices reads a price list.
func LoadPrices(name string) (*Prices, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("load prices: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("load prices %s: %w", name, err)
	}
	p, err := DecodePrices(data)
	if err != nil {
		return nil, fmt.Errorf("load prices %s: %w", name, err)
	}
	return p, nil
}

// DecodePrices reads a price list.
func DecodePrices(data []byte) (*Prices, error) {
	var p Prices
	if err := decodeStrictly(data, &p); err != nil {
		return nil, err
	}
	if p.Currency == "" || len(p.Currency) > 16 {
		return nil, errors.New("currency is not set")
	}
	for _, v := range []float64{p.Node, p.DriveTB, p.MemoryGiB, p.NodeMonth, p.DriveMonth} {
		if !(v >= 0 && v <= 1e12) {
			return nil, fmt.Errorf("price %g: not from 0 to 1e12", v)
		}
	}
	return &p, nil
}

// Add puts the cost into the plan.
func (p *Prices) Add(to *Plan) {
	n, tb := to.Nodes.Value, float64(to.Drives)*to.Layout.DriveBytes/1e12
	to.Cost = &Cost{
		Currency: p.Currency,
		Once:     n*p.Node + tb*p.DriveTB + to.Memory/(1<<30)*p.MemoryGiB,
		Month:    n*p.NodeMonth + tb*p.DriveMonth,
	}
}
