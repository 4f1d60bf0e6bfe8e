package embedded

import "time"

// WithDriver makes a store use another driver of database/sql.
func (o Options) WithDriver(name string) Options {
	o.driver = name
	return o
}

// WithPatience makes a store wait so long for another program's lock.
func (o Options) WithPatience(patience time.Duration) Options {
	o.patience = patience
	return o
}

// MaxIdleLog is how long the log may stay, in bytes.
const MaxIdleLog = maxIdleLog
