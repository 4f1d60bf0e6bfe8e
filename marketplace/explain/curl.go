package explain

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/shell"
)

// switches are those flags of curl that take no value and say nothing of what
// was signed. One that is not known might take the address for its value.
var switches = strings.Fields(`basic compressed digest fail fail-early fail-with-body globoff http0.9 http1.0 http1.1 http2
	http2-prior-knowledge http3 include insecure ipv4 ipv6 location location-trusted no-buffer no-keepalive no-progress-meter
	path-as-is progress-bar raw show-error silent ssl-no-revoke tcp-nodelay tlsv1.2 tlsv1.3 tr-encoding verbose`)

const shortSwitches = "#0346NSafgiknqsvL"

// parseCurl reads the flags that a copied request has. Others are passed over.
func parseCurl(line string) (*Request, error) {
	words, err := splitCommand(line)
	if err != nil {
		return nil, fmt.Errorf("curl command line: %w", err)
	}
	flags := pflag.NewFlagSet("curl", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.SetOutput(io.Discard)
	method := flags.StringP("request", "X", "", "")
	headers := flags.StringArrayP("header", "H", nil, "")
	address := flags.String("url", "", "")
	data := flags.StringArrayP("data", "d", nil, "")
	ascii := flags.StringArray("data-ascii", nil, "")
	binary := flags.StringArray("data-binary", nil, "")
	json := flags.StringArray("json", nil, "")
	raw := flags.StringArray("data-raw", nil, "")
	encoded := flags.StringArray("data-urlencode", nil, "")
	get := flags.BoolP("get", "G", false, "")
	for _, name := range switches {
		flags.Bool(name, false, "")
	}
	for _, letter := range shortSwitches {
		flags.BoolP("short-"+string(letter), string(letter), false, "")
	}
	if err := flags.Parse(words[1:]); err != nil {
		return nil, fmt.Errorf("curl command line: %w", err)
	}
	if *address == "" && flags.NArg() > 0 {
		*address = flags.Arg(0)
	}
	parts := slices.Concat(*data, *ascii, *binary, *json)
	for _, part := range parts {
		if file, ok := strings.CutPrefix(part, "@"); ok {
			return nil, fmt.Errorf("curl command line: its body is in the file %s; put the body itself in its place", file)
		}
	}
	parts = append(parts, *raw...)
	for _, part := range *encoded {
		parts = append(parts, urlEncoded(part))
	}
	body := strings.Join(parts, "&")
	header := make(http.Header)
	for _, h := range *headers {
		name, value, _ := strings.Cut(h, ":")
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if *get && body != "" {
		*address, body = withQuery(*address, body), ""
	}
	if *method == "" {
		*method = http.MethodGet
		if body != "" {
			*method = http.MethodPost
		}
	}
	return newRequest(*method, *address, header, []byte(body))
}

// urlEncoded is a part of --data-urlencode as curl sends it: the name is taken as
// it is.
func urlEncoded(part string) string {
	name, value, named := strings.Cut(part, "=")
	if !named {
		return url.QueryEscape(part)
	}
	return strings.TrimPrefix(name+"="+url.QueryEscape(value), "=")
}

// withQuery adds parameters to an address, as curl -G does.
func withQuery(address, query string) string {
	if strings.Contains(address, "?") {
		return address + "&" + query
	}
	return address + "?" + query
}

// cmd tells a command line for cmd.exe, as browsers copy it on Windows.
var cmd = regexp.MustCompile(`\^"|\^\r?\n`)

// splitCommand takes a command line apart as the shell does that it is for.
func splitCommand(line string) ([]string, error) {
	if cmd.MatchString(line) {
		return splitWindows(withoutCarets(line))
	}
	return shell.Fields(line, func(string) string { return "" })
}

// withoutCarets undoes cmd.exe's escapes: a caret stands before a character that
// means itself, and at the end of a line that goes on.
func withoutCarets(line string) string {
	line = strings.ReplaceAll(line, "\r\n", "\n")
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] == '^' && i+1 < len(line) {
			if i++; line[i] == '\n' && (i+1 == len(line) || line[i+1] != '\n') {
				continue
			} else if line[i] == '\n' {
				i++ // an empty line behind it is a line break that is meant
			}
		}
		b.WriteByte(line[i])
	}
	return b.String()
}

// splitWindows takes a command line apart as programs on Windows do.
func splitWindows(line string) (words []string, err error) {
	var word strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line) && (line[i+1] == '"' || line[i+1] == '\\'):
			i++
			word.WriteByte(line[i])
			begun = true
		case c == '"':
			quoted, begun = !quoted, true
		case !quoted && strings.IndexByte(" \t\n", c) >= 0:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quoted {
		return nil, errors.New("a quotation mark is not closed")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
