package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxPushFile bounds a file to push, in bytes: twice what a production address
// takes in one body.
const maxPushFile = 128 << 20

// column is a member that a file may give.
type column struct {
	name, hint string
	required   bool
}

func describe(columns []column) string {
	var b strings.Builder
	b.WriteString("Columns of the file:\n")
	for _, c := range columns {
		must := ""
		if c.required {
			must = "required"
		}
		fmt.Fprintf(&b, "  %s\n", strings.TrimRight(fmt.Sprintf("%-13s %-9s %s", c.name, must, c.hint), " "))
	}
	return strings.TrimRight(b.String(), "\n")
}

func columnNames(columns []column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// place is where something stands in a file, both counted from 1; a column is
// counted in bytes, as compilers do.
type place struct{ line, column int }

// cell is a value with its place.
type cell struct {
	text string
	at   place
}

// row is one entity of a file.
type row struct {
	at    place
	cells map[string]cell
}

// text is a cell's value, empty if it is absent.
func (r *row) text(name string) string { return r.cells[name].text }

// fault is an error at a place of a file, as compilers write it.
func fault(file string, at place, format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %s", file, at.line, at.column, fmt.Sprintf(format, args...))
}

// maxFaults bounds the faults of one file that are told at once.
const maxFaults = 20

// readRows reads a CSV or JSON file whose members are the given columns.
func readRows(path string, columns []column) ([]row, error) {
	text, err := readText(path)
	if err != nil {
		return nil, err
	}
	var rows []row
	if strings.EqualFold(filepath.Ext(path), ".csv") {
		rows, err = readCSV(path, text, columns)
	} else {
		rows, err = readJSON(path, text, columns)
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for i := range rows {
		for _, c := range columns {
			if value, ok := rows[i].cells[c.name]; c.required && value.text == "" && len(errs) < maxFaults {
				if !ok {
					value.at = rows[i].at
				}
				errs = append(errs, fault(path, value.at, "%s: missing", c.name))
			}
		}
	}
	return rows, errors.Join(errs...)
}

func readText(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	if info.IsDir() || info.Size() > maxPushFile {
		return nil, fmt.Errorf("read %s: want a file of at most %d MiB", path, maxPushFile>>20)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	number := 0
	for line := range bytes.Lines(text) {
		if number++; !utf8.Valid(line) {
			return nil, fmt.Errorf("%s:%d: not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")", path, number)
		}
	}
	return text, nil
}

// readCSV reads a file with a header line. An empty value is an absent one.
func readCSV(path string, text []byte, columns []column) ([]row, error) {
	reader := csv.NewReader(bytes.NewReader(text))
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty; want a header line with %s", path, columnNames(columns))
	}
	if err != nil {
		return nil, csvFault(path, err)
	}
	var errs []error
	for i, name := range header {
		header[i] = strings.TrimSpace(name)
		line, col := reader.FieldPos(i)
		switch at := (place{line, col}); {
		case !slices.ContainsFunc(columns, func(c column) bool { return c.name == header[i] }):
			errs = append(errs, fault(path, at, "column %q: no such member; want %s", header[i], columnNames(columns)))
		case slices.Index(header, header[i]) < i:
			errs = append(errs, fault(path, at, "column %q: given twice", header[i]))
		}
	}
	for _, c := range columns {
		if c.required && !slices.Contains(header, c.name) {
			errs = append(errs, fault(path, place{1, 1}, "column %q: missing", c.name))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var rows []row
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, csvFault(path, err)
		}
		line, col := reader.FieldPos(0)
		r := row{at: place{line, col}, cells: make(map[string]cell, len(record))}
		for i, value := range record {
			line, col := reader.FieldPos(i)
			r.cells[header[i]] = cell{value, place{line, col}}
		}
		rows = append(rows, r)
	}
}

func csvFault(path string, err error) error {
	parse, ok := errors.AsType[*csv.ParseError](err)
	if !ok {
		return fmt.Errorf("%s: %w", path, err)
	}
	if errors.Is(err, csv.ErrFieldCount) {
		return fault(path, place{parse.Line, max(parse.Column, 1)}, "more or fewer values than the header line has columns")
	}
	return fault(path, place{parse.Line, max(parse.Column, 1)}, "%s", parse.Err)
}

// readJSON reads a list of objects, or one object, of plain values. Numbers
// stay as they are written.
func readJSON(path string, text []byte, columns []column) ([]row, error) {
	j := &jsonReader{path: path, text: text, columns: columns, decoder: json.NewDecoder(bytes.NewReader(text))}
	j.decoder.UseNumber()
	var rows []row
	switch token := j.next(); token {
	case json.Delim('{'):
		rows = append(rows, j.object())
	case json.Delim('['):
		for j.err == nil && j.decoder.More() {
			if j.next() != json.Delim('{') {
				j.fail("want an object")
				break
			}
			rows = append(rows, j.object())
		}
		j.next()
	default:
		j.fail("want a list of objects, or one object; a CSV file's name ends in .csv")
	}
	if j.err == nil {
		if _, err := j.decoder.Token(); !errors.Is(err, io.EOF) {
			j.start = j.skip(j.decoder.InputOffset())
			j.fail("want nothing behind the list")
		}
	}
	return rows, j.err
}

// jsonReader walks over tokens. Its first error stays.
type jsonReader struct {
	path    string
	text    []byte
	columns []column
	decoder *json.Decoder
	start   int64 // where the newest token begins
	counted int64 // how far line and column are counted
	at      place
	err     error
}

func (j *jsonReader) next() json.Token {
	if j.err != nil {
		return nil
	}
	j.start = j.skip(j.decoder.InputOffset())
	token, err := j.decoder.Token()
	if err != nil {
		j.fail("malformed JSON: " + strings.TrimPrefix(err.Error(), "json: "))
		return nil
	}
	return token
}

// skip passes what stands between tokens.
func (j *jsonReader) skip(offset int64) int64 {
	for offset < int64(len(j.text)) && strings.IndexByte(" \t\r\n,:", j.text[offset]) >= 0 {
		offset++
	}
	return offset
}

// place counts on from where it last stood: tokens come in order.
func (j *jsonReader) place() place {
	if j.start < j.counted || j.at.line == 0 {
		j.counted, j.at = 0, place{1, 1}
	}
	for ; j.counted < min(j.start, int64(len(j.text))); j.counted++ {
		if j.text[j.counted] == '\n' {
			j.at = place{j.at.line + 1, 1}
		} else {
			j.at.column++
		}
	}
	return j.at
}

func (j *jsonReader) fail(reason string) {
	if j.err == nil {
		j.err = fault(j.path, j.place(), "%s", reason)
	}
}

// object reads the members of an object whose brace is read.
func (j *jsonReader) object() row {
	r := row{at: j.place(), cells: make(map[string]cell)}
	for j.err == nil && j.decoder.More() {
		name, _ := j.next().(string)
		if j.err == nil && !slices.ContainsFunc(j.columns, func(c column) bool { return c.name == name }) {
			j.fail(fmt.Sprintf("%q: no such member; want %s", name, columnNames(j.columns)))
		}
		if _, twice := r.cells[name]; twice {
			j.fail(fmt.Sprintf("%q: given twice", name))
		}
		value := j.next()
		at := j.place()
		switch v := value.(type) {
		case string:
			r.cells[name] = cell{v, at}
		case json.Number:
			r.cells[name] = cell{v.String(), at}
		case bool:
			r.cells[name] = cell{strconv.FormatBool(v), at}
		case nil:
		default:
			j.fail(name + ": want text, a number, true or false")
		}
	}
	j.next()
	return r
}
