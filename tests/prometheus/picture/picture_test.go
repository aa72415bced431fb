package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVariablesAreFilled(t *testing.T) {
	values := map[string]string{"namespace": "ours", "__rate_interval": "12000ms"}
	filled, err := fill(`rate(a{b="$namespace",c=~"${namespace:regex}"}[$__rate_interval]) "$1"`, values)
	if want := `rate(a{b="ours",c=~"ours"}[12000ms]) "$1"`; filled != want || err != nil {
		t.Errorf("%s, %v; not %s", filled, err, want)
	}
	if _, err := fill("$other", values); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("%v names no variable", err)
	}
}

func TestTicksAreRoundAndReachBeyondTheGreatest(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      string
	}{
		{0, 10_200, "[0 5000 10000 15000]"},
		{0, 0, "[0 0.5 1]"},
		{0, 0.9, "[0 0.5 1]"},
		{-3, 7, "[-5 0 5 10]"},
		{0, 4, "[0 1 2 3 4]"},
	} {
		if found := fmt.Sprint(ticks(c.low, c.high, 4)); found != c.want {
			t.Errorf("%v to %v: %s, not %s", c.low, c.high, found, c.want)
		}
	}
}

func TestNumbersAreSaidInTheirUnit(t *testing.T) {
	for _, c := range []struct {
		v, greatest float64
		unit, want  string
	}{
		{10_200, 10_200, "short", "10.2 K"},
		{0, 10_200, "short", "0"},
		{500, 10_200, "short", "0.5 K"},
		{1, 1, "percentunit", "100%"},
		{0.25, 0.5, "s", "250 ms"},
		{9, 10, "s", "9 s"},
		{90, 180, "s", "1.5 min"},
		{0.004, 0.004, "ops", "0.004 ops/s"},
		{1500, 1500, "reqps", "1.5 K req/s"},
	} {
		size := sizeOf(c.greatest, c.unit)
		if found := say(c.v/size.by, size.after); found != c.want {
			t.Errorf("%v of %v in %s: %s, not %s", c.v, c.greatest, c.unit, found, c.want)
		}
	}
}

const board = `{"title": "A <board>", "templating": {"list": [
	{"name": "namespace", "type": "query", "definition": "label_values(visits_total, namespace)"}]}, "panels": [
	{"type": "timeseries", "title": "Visits", "gridPos": {"w": 8, "h": 7}, "fieldConfig": {"defaults": {"unit": "short", "min": 0}},
	 "targets": [{"refId": "A", "expr": "sum by (end) (visits_total{namespace=\"$namespace\"})", "legendFormat": "{{end}}"}]},
	{"type": "stat", "title": "Absent", "gridPos": {"x": 8, "w": 4, "h": 4}, "targets": [{"refId": "B", "expr": "QUERY"}]}]}`

// drawn is what comes of two scrapes, ten seconds apart, and a query.
func drawn(t *testing.T, query string, scrapes ...string) (string, error) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for i, scrape := range scrapes {
		write(fmt.Sprintf("%d.prom", 1_700_000_000_000+i*10_000), scrape)
	}
	out := filepath.Join(folder, "out.svg")
	err := picture(write("board.json", strings.Replace(board, "QUERY", query, 1)), folder, out)
	svg, _ := os.ReadFile(out)
	return string(svg), err
}

const scrape = "# TYPE visits counter\nvisits_total{end=\"Settled\"} %d\n# EOF\n"

func TestTwoScrapesMakeALine(t *testing.T) {
	svg, err := drawn(t, "absent", fmt.Sprintf(scrape, 2), fmt.Sprintf(scrape, 4))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A &lt;board&gt;", ">Visits<", ">Settled<", ">No data<", "min<", `stroke="#0072b2" d="M`} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in %s", want, svg)
		}
	}
	// From half the height to all of it.
	lines := slices.DeleteFunc(strings.Split(svg, "<"), func(s string) bool { return !strings.Contains(s, "h0l") })
	if len(lines) != 1 || !strings.Contains(lines[0], " -") {
		t.Errorf("%q are no line that rises", lines)
	}
}

func TestErrorsSayWhereTheyCameFrom(t *testing.T) {
	one := fmt.Sprintf(scrape, 2)
	for want, try := range map[string][]string{
		`panel "Absent", query B`:   {"sum(", one, one},
		"no variable is named gone": {"$gone", one, one},
		"1 scrapes":                 {"absent", one},
		"1700000010000.prom":        {"absent", one, "visits_total 1\n"},
	} {
		if _, err := drawn(t, try[0], try[1:]...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}
