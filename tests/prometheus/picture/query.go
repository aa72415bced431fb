package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// Points of a line at most: a picture has no more room, and its file stays small.
const longest = 150

// What Prometheus would add to the series of the one pod that was scraped.
var pod = map[string]string{
	"job": "lanyard", "namespace": "lanyard-system", "pod": "lanyard-0", "instance": "lanyard-0:8080",
}

var engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 50e6, Timeout: time.Minute})

// A series that a query answered, with its name in the legend.
type line struct {
	name   string
	points []promql.FPoint
}

// All that was scraped, in memory: queries need nothing else of a storage.
type run struct {
	// Answers nothing: no query asks which labels there are.
	storage.LabelQuerier
	// When, in milliseconds.
	scrapes []int64
	series  map[string]*promql.Series
}

func readRun(directory string) (*run, error) {
	// Their names sort as their times do, until the year 2286.
	files, err := filepath.Glob(filepath.Join(directory, "*.prom"))
	if err != nil {
		return nil, err
	}
	r := &run{LabelQuerier: storage.NoopQuerier(), series: map[string]*promql.Series{}}
	for _, file := range files {
		at, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".prom"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not named for a time in milliseconds", file)
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = r.scrape(at, text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(r.scrapes) < 2 {
		return nil, fmt.Errorf("%s has %d scrapes, <unix milliseconds>.prom; a line takes two", directory, len(r.scrapes))
	}
	return r, nil
}

func (r *run) scrape(at int64, text []byte) error {
	parser := textparse.NewOpenMetricsParser(text, labels.NewSymbolTable())
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if entry == textparse.EntrySeries {
			var metric labels.Labels
			parser.Labels(&metric)
			_, _, sample := parser.Series()
			r.add(at, metric, sample)
		}
	}
	r.add(at, labels.FromStrings(labels.MetricName, "up"), 1)
	// A series that is no longer there ends now, not five minutes later.
	for _, series := range r.series {
		if last := series.Floats[len(series.Floats)-1]; last.T != at && !value.IsStaleNaN(last.F) {
			series.Floats = append(series.Floats, promql.FPoint{T: at, F: math.Float64frombits(value.StaleNaN)})
		}
	}
	r.scrapes = append(r.scrapes, at)
	return nil
}

func (r *run) add(at int64, metric labels.Labels, sample float64) {
	builder := labels.NewBuilder(metric)
	for name, value := range pod {
		builder.Set(name, value)
	}
	metric = builder.Labels()
	series := r.series[metric.String()]
	if series == nil {
		series = &promql.Series{Metric: metric}
		r.series[metric.String()] = series
	}
	series.Floats = append(series.Floats, promql.FPoint{T: at, F: sample})
}

// interval is the time from scrape to scrape, on average.
func (r *run) interval() time.Duration { return r.span() / time.Duration(len(r.scrapes)-1) }

func (r *run) span() time.Duration {
	return time.Duration(r.scrapes[len(r.scrapes)-1]-r.scrapes[0]) * time.Millisecond
}

// step is the time between two points of a line. To look more often than Prometheus did shows nothing new.
func (r *run) step() time.Duration {
	return max(r.interval(), r.span()/(longest-1)+time.Millisecond)
}

// answer asks the queries of all panels.
func (r *run) answer(d *dashboard) error {
	values, err := r.variables(d.Templating.List)
	if err != nil {
		return err
	}
	for i := range d.Panels {
		p := &d.Panels[i]
		for _, target := range p.Targets {
			lines, err := r.query(target.Expr, target.LegendFormat, values)
			if err != nil {
				return fmt.Errorf("panel %q, query %s, %s: %w", p.Title, target.RefID, target.Expr, err)
			}
			p.lines = append(p.lines, lines...)
		}
	}
	return nil
}

func (r *run) query(expr, legend string, values map[string]string) ([]line, error) {
	expr, err := fill(expr, values)
	if err != nil {
		return nil, err
	}
	start := time.UnixMilli(r.scrapes[0])
	query, err := engine.NewRangeQuery(context.Background(), r, nil, expr, start, start.Add(r.span()), r.step())
	if err != nil {
		return nil, err
	}
	matrix, err := query.Exec(context.Background()).Matrix()
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, series := range matrix {
		if points := slices.DeleteFunc(series.Floats, unseen); len(points) > 0 {
			lines = append(lines, line{named(legend, series.Metric), points})
		}
	}
	return lines, nil
}

// unseen points leave a gap: a quantile of nothing is not a number.
func unseen(point promql.FPoint) bool { return math.IsNaN(point.F) || math.IsInf(point.F, 0) }

var (
	labelValues = regexp.MustCompile(`^label_values\((.+),\s*(\w+)\)$`)
	variable    = regexp.MustCompile(`\$([A-Za-z_]\w*)|\$\{(\w+)(?::\w+)?\}`)
	labelName   = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
)

// variables are those of Grafana and of the dashboard, each with the value that is chosen when it is opened.
func (r *run) variables(templates []template) (map[string]string, error) {
	values := map[string]string{}
	for name, length := range map[string]time.Duration{
		"__interval": r.step(),
		"__range":    r.span(),
		// As Grafana has it: four scrapes, so that one may fail, and never less than from point to point.
		"__rate_interval": max(4*r.interval(), r.step()+r.interval()),
	} {
		values[name] = fmt.Sprintf("%dms", length.Milliseconds())
		values[name+"_ms"] = fmt.Sprint(length.Milliseconds())
		values[name+"_s"] = fmt.Sprint(int(length.Seconds()))
	}
	for _, template := range templates {
		if template.Type == "datasource" {
			continue
		}
		asked := labelValues.FindStringSubmatch(template.Definition)
		if asked == nil {
			return nil, fmt.Errorf("variable %s: cannot tell its value from %q", template.Name, template.Definition)
		}
		lines, err := r.query(fmt.Sprintf("group by (%s) (%s)", asked[2], asked[1]), "{{"+asked[2]+"}}", values)
		if err == nil && len(lines) == 0 {
			err = fmt.Errorf("the scrapes have no %s", asked[1])
		}
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", template.Name, err)
		}
		values[template.Name] = lines[0].name
	}
	return values, nil
}

// fill puts values in place of variables: $name, ${name} and ${name:format}.
func fill(expr string, values map[string]string) (string, error) {
	var err error
	filled := variable.ReplaceAllStringFunc(expr, func(found string) string {
		name := variable.FindStringSubmatch(found)
		text, known := values[name[1]+name[2]]
		if !known {
			err = fmt.Errorf("no variable is named %s", name[1]+name[2])
		}
		return text
	})
	return filled, err
}

// named is a series' name in the legend.
func named(legend string, metric labels.Labels) string {
	if legend == "" {
		return metric.String()
	}
	return labelName.ReplaceAllStringFunc(legend, func(found string) string {
		return metric.Get(labelName.FindStringSubmatch(found)[1])
	})
}

// Querier makes a run a storage.Queryable, and Select the storage.Querier that it hands out.
func (r *run) Querier(int64, int64) (storage.Querier, error) { return r, nil }

func (r *run) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	selected := &selection{SeriesSet: storage.EmptySeriesSet()}
	for _, key := range slices.Sorted(maps.Keys(r.series)) {
		metric := r.series[key].Metric
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(metric.Get(m.Name)) }) {
			selected.series = append(selected.series, r.series[key])
		}
	}
	return selected
}

// A selection is walked once; that it has neither errors nor warnings it takes from the empty one.
type selection struct {
	storage.SeriesSet
	series []*promql.Series
	walked int
}

func (s *selection) Next() bool {
	s.walked++
	return s.walked <= len(s.series)
}

func (s *selection) At() storage.Series { return promql.NewStorageSeries(*s.series[s.walked-1]) }
