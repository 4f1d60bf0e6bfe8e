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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/openkoo/connector/secrets"
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

// readRows reads a CSV or JSON file whose members are the given columns. doubts
// are values that are taken as they are and look damaged.
func readRows(path string, columns []column) (rows []row, doubts []error, err error) {
	text, doubts, err := readText(path)
	if err != nil {
		return nil, nil, err
	}
	if isCSV(path) {
		rows, err = readCSV(path, text, columns)
	} else {
		rows, err = readJSON(path, text, columns)
	}
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for i := range rows {
		for _, c := range columns {
			value, ok := rows[i].cells[c.name]
			if c.required && value.text == "" && len(errs) < maxFaults {
				if !ok {
					value.at = rows[i].at
				}
				errs = append(errs, fault(path, value.at, "%s: missing", c.name))
			}
			if reason := doubtful(c.name, value.text); reason != "" && len(doubts) < maxFaults {
				doubts = append(doubts, fault(path, value.at, "%s: %q %s", c.name, value.text, reason))
			}
		}
	}
	return rows, doubts, errors.Join(errs...)
}

func isCSV(path string) bool { return strings.EqualFold(filepath.Ext(path), ".csv") }

// codes are the columns whose values name something: what a spreadsheet does to
// one of them makes another thing of it.
var codes = []string{"orgCode", "parentCode", "userName", "employeeCode", "mobile", "tenantCode", "appId", "clientId", "orderId"}

var scientific = regexp.MustCompile(`^[+-]?\d+([.,]\d+)?[eE][+-]?\d+$`)

// doubtful says why a code is hardly what it was; empty if it is not.
func doubtful(column, value string) string {
	if !slices.Contains(codes, column) {
		return ""
	}
	switch {
	case scientific.MatchString(value):
		return "looks like a long number that a spreadsheet has shortened; format the column as text"
	case strings.TrimSpace(value) != value:
		return "begins or ends with a blank"
	case strings.ContainsFunc(value, func(r rune) bool {
		return unicode.Is(unicode.Cf, r) || unicode.IsControl(r) || r != ' ' && unicode.IsSpace(r)
	}):
		return "holds a character that cannot be seen"
	default:
		return ""
	}
}

// readText reads a file as UTF-8. Excel in China saves CSV files as GB18030,
// which is read and told.
func readText(path string) (text []byte, doubts []error, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	if info.IsDir() || info.Size() > maxPushFile {
		return nil, nil, fmt.Errorf("read %s: want a file of at most %d MiB", path, maxPushFile>>20)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	if text, err = secrets.Text(raw); err == nil {
		return text, nil, nil
	}
	if text, err = simplifiedchinese.GB18030.NewDecoder().Bytes(raw); isCSV(path) && err == nil && !bytes.ContainsRune(text, utf8.RuneError) && bytes.IndexByte(text, 0) < 0 {
		return text, []error{fmt.Errorf("%s: not UTF-8; read as GB18030, as Excel in China saves it: look whether the names are right (--dry-run)", path)}, nil
	}
	number := 0
	for line := range bytes.Lines(raw) {
		if number++; !utf8.Valid(line) {
			return nil, nil, fmt.Errorf("%s:%d: not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")", path, number)
		}
	}
	return nil, nil, fmt.Errorf("%s: not a text file; save it as UTF-8", path)
}

// separator is what parts the values of a file's header line: Excel's depends on
// the country.
func separator(text []byte) rune {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	for _, one := range []rune{',', ';', '\t'} {
		if bytes.ContainsRune(line, one) {
			return one
		}
	}
	return ','
}

// readCSV reads a file with a header line. An empty value is an absent one; rows
// and columns without any value, which spreadsheets leave behind, are passed.
func readCSV(path string, text []byte, columns []column) ([]row, error) {
	reader := csv.NewReader(bytes.NewReader(text))
	reader.Comma, reader.FieldsPerRecord = separator(text), -1
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty; want a header line with %s", path, columnNames(columns))
	}
	if err != nil {
		return nil, csvFault(path, err)
	}
	if err := checkHeader(path, reader, header, columns); err != nil {
		return nil, err
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
		if !slices.ContainsFunc(record, filled) {
			continue
		}
		r, err := rowOf(path, reader, header, record)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
}

func filled(value string) bool { return strings.TrimSpace(value) != "" }

// checkHeader trims the names of a header line and checks them.
func checkHeader(path string, reader *csv.Reader, header []string, columns []column) error {
	var errs []error
	for i, name := range header {
		header[i] = strings.TrimSpace(name)
		line, col := reader.FieldPos(i)
		switch at := (place{line, col}); {
		case header[i] == "":
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
	return errors.Join(errs...)
}

func rowOf(path string, reader *csv.Reader, header, record []string) (row, error) {
	line, col := reader.FieldPos(0)
	r := row{at: place{line, col}, cells: make(map[string]cell, len(record))}
	if len(record) < len(header) {
		return r, fault(path, r.at, "fewer values than the header line has columns")
	}
	for i, value := range record {
		line, col := reader.FieldPos(i)
		at := place{line, col}
		switch {
		case i < len(header) && header[i] != "":
			r.cells[header[i]] = cell{value, at}
		case i >= len(header) && filled(value):
			return r, fault(path, at, "more values than the header line has columns")
		case filled(value):
			return r, fault(path, at, "%q stands in a column without a name", value)
		}
	}
	return r, nil
}

func csvFault(path string, err error) error {
	parse, ok := errors.AsType[*csv.ParseError](err)
	if !ok {
		return fmt.Errorf("%s: %w", path, err)
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
