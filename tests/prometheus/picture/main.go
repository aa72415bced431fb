// Draws a dashboard of Grafana's as one SVG picture of a run, without Grafana.
//
//	scrapes ─▶ run, queried by Prometheus' own engine ─▶ lines of each panel ─▶ picture
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
)

// What is read of a dashboard.
type dashboard struct {
	Title, Description string
	Templating         struct{ List []template }
	Panels             []panel
}

type template struct{ Name, Type, Definition string }

type panel struct {
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit string
			Min  *float64
		}
	}
	Targets []struct{ RefID, Expr, LegendFormat string }
	// What the queries answered.
	lines []line
}

func main() {
	board := flag.String("dashboard", "", "the dashboard, as `FILE` of JSON")
	scrapes := flag.String("scrapes", "", "`DIRECTORY` of answers of /metrics, each named <unix milliseconds>.prom")
	out := flag.String("out", "", "`FILE` to write the picture to")
	flag.Parse()
	if err := picture(*board, *scrapes, *out); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func picture(board, scrapes, out string) error {
	if board == "" || scrapes == "" || out == "" || flag.NArg() > 0 {
		return errors.New("takes -dashboard, -scrapes and -out, and nothing else")
	}
	text, err := os.ReadFile(board)
	if err != nil {
		return err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("%s: %w", board, err)
	}
	r, err := readRun(scrapes)
	if err != nil {
		return err
	}
	if err := r.answer(&d); err != nil {
		return fmt.Errorf("%s: %w", board, err)
	}
	svg, err := draw(&d, r)
	if err != nil {
		return fmt.Errorf("%s: %w", board, err)
	}
	return os.WriteFile(out, []byte(svg), 0o644)
}
