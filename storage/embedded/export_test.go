package embedded

// WithDriver makes a store use another driver of database/sql.
func (o Options) WithDriver(name string) Options {
	o.driver = name
	return o
}
