package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// chart is bars in groups: in each a bar for each system.
type chart struct {
	file, title string
	scale       float64
	groups      []group
	systems     []string
}

// group is a figure of all systems.
type group struct{ label, cell, value string }

// charts returns those that the README shows. The smallest bars would be seen on a
// logarithmic axis alone, which makes differences look small; so the axes are linear,
// and the figures stand above the bars.
func charts() []chart {
	all := []string{"crier", "nats", "redis-unix", "redis-tcp", "zeromq", "mosquitto", "dbus"}
	served, fast := all[:4], all[:5]
	receivers := func(size string) []group {
		return []group{{"1 → 1", size + "x1", rate}, {"1 → 10", size + "x10", rate}, {"1 → 100", size + "x100", rate}}
	}
	percentiles := func(cell string) []group {
		return []group{{"50 % take less", cell, p50}, {"99 % take less", cell, p99}}
	}
	return []chart{
		{"throughput-16.svg", "millions of deliveries a second, 16 B", 1e6, receivers("16"), all},
		{"throughput-128.svg", "millions of deliveries a second, 128 B", 1e6, receivers("128"), all},
		{"throughput-1024.svg", "millions of deliveries a second, 1 KiB", 1e6, receivers("1024"), all},
		{"throughput-all.svg", "millions of deliveries a second, 8 all-to-all", 1e6, []group{
			{"128 B", "128all8", rate}, {"1 KiB", "1024all8", rate},
		}, all},
		{"cpu.svg", "CPU of the server, ns a delivery, 1 → 10", 1, []group{
			{"16 B", "16x10", serverCPU}, {"128 B", "128x10", serverCPU}, {"1 KiB", "1024x10", serverCPU},
		}, served},
		{"latency.svg", "latency in µs, 64 B, 2,000 messages a second", 1, percentiles("latency"), all},
		{"loaded.svg", "latency in ms, 128 B, 1 → 10, 800,000 deliveries a second", 1e3, percentiles("loaded"), fast},
	}
}

// drawCharts draws all charts; what was not measured has no bar.
func (b *bench) drawCharts(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, c := range charts() {
		if err := b.draw(c, filepath.Join(dir, c.file)); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
	}
	return nil
}

// ink is legible on white and on black.
func ink() color.Color { return color.RGBA{0x80, 0x86, 0x8e, 0xff} }

// paint is the colour of each system, in every chart the same.
func paint(system string) color.Color {
	colors := map[string]color.RGBA{
		"crier":      {0xe4, 0x57, 0x2e, 0xff},
		"nats":       {0x2f, 0x9e, 0x6e, 0xff},
		"redis-unix": {0x4a, 0x7f, 0xd6, 0xff},
		"redis-tcp":  {0x8f, 0xb3, 0xea, 0xff},
		"zeromq":     {0xb0, 0x7c, 0xc6, 0xff},
		"mosquitto":  {0xc9, 0xa2, 0x27, 0xff},
		"dbus":       {0x9a, 0x8c, 0x7a, 0xff},
	}
	return colors[system]
}

const (
	chartWidth  = 18 * vg.Centimeter
	chartHeight = 8 * vg.Centimeter
	// legendRoom is for the legend, in groups of bars.
	legendRoom = 0.55
)

func (b *bench) draw(c chart, path string) error {
	p := plot.New()
	p.BackgroundColor = nil // that of the page
	p.Title.Text = c.title
	p.Title.Padding = 3 * vg.Millimeter
	p.Y.Min = 0
	var labels []string
	for _, g := range c.groups {
		labels = append(labels, g.label)
	}
	p.NominalX(labels...)
	for _, style := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		style.Color = ink()
		style.Font.Variant = font.Variant("Sans")
	}
	for _, style := range []*draw.LineStyle{
		&p.X.LineStyle, &p.Y.LineStyle, &p.X.Tick.LineStyle, &p.Y.Tick.LineStyle,
	} {
		style.Color = ink()
	}
	p.Legend.Top = true
	groups := vg.Length(len(c.groups)) + legendRoom
	width := 0.75 * chartWidth / groups / vg.Length(len(c.systems))
	for i, system := range c.systems {
		if err := b.addBars(p, c, system, width, (vg.Length(i)-vg.Length(len(c.systems)-1)/2)*width); err != nil {
			return err
		}
	}
	p.X.Min, p.X.Max = -0.5, float64(groups)-0.5
	return save(p, path)
}

// addBars adds the bars of a system, with their figures above.
func (b *bench) addBars(p *plot.Plot, c chart, system string, width, offset vg.Length) error {
	var heights plotter.Values
	var figures plotter.XYLabels
	for i, g := range c.groups {
		height := b.samples.spread(key{g.cell, system, g.value}).median() / c.scale
		label := number(height)
		if height != height {
			height, label = 0, "" // not measured
		}
		heights = append(heights, height)
		figures.XYs = append(figures.XYs, plotter.XY{X: float64(i), Y: height})
		figures.Labels = append(figures.Labels, label)
	}
	bars, err := plotter.NewBarChart(heights, width*0.86)
	if err != nil {
		return err
	}
	bars.Color, bars.Offset, bars.LineStyle.Width = paint(system), offset, 0
	labels, err := plotter.NewLabels(figures)
	if err != nil {
		return err
	}
	for i := range labels.TextStyle {
		style := &labels.TextStyle[i]
		style.Color, style.Font.Size, style.Font.Variant = ink(), 6.5, font.Variant("Sans")
		style.XAlign = draw.XCenter
	}
	labels.Offset = vg.Point{X: offset, Y: vg.Millimeter / 2}
	p.Add(bars, labels)
	p.Legend.Add(system, bars)
	return nil
}

// save writes the plot. The page's reader may not have the font that was measured.
func save(p *plot.Plot, path string) error {
	canvas := vgsvg.New(chartWidth, chartHeight)
	p.Draw(draw.New(canvas))
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	const measured = "font-family:Liberation Sans"
	return os.WriteFile(path, bytes.ReplaceAll(text.Bytes(), []byte(measured), []byte(measured+",Arial,sans-serif")), 0o644)
}
