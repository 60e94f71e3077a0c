package config

import "mirrorpool/config/safefile"

// A Kind is one of the two kinds of file that this package reads.
type Kind string

// The kinds of file, under their usual names.
const (
	KindPool   Kind = "mirrors.json"
	KindServer Kind = "mirrorpool.json"
)

// KindOf returns which kind of file data is: a pool if it is an object with the key "version" or with a
// list at "mirrors", and else a server's configuration. Where data is not JSON, the error joins an
// [*Error] that says where; file is the name to use in it.
func KindOf(file string, data []byte) (Kind, error) {
	d, faults := readDocument(file, data)
	if d.root == nil {
		return "", join(d.errorsOf(faults))
	}
	return d.kind(), nil
}

func (d *document) kind() Kind {
	if d.root.member("version") != nil {
		return KindPool
	}
	if mirrors := d.root.member("mirrors"); mirrors != nil && mirrors.kind == arrayValue {
		return KindPool
	}
	return KindServer
}

// LoadServer reads and checks the server's configuration at path. See [ParseServer].
func LoadServer(path string) (*Server, []*Error, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return ParseServer(path, data)
}

// ReadFile reads a regular file of at most MaxFileSize bytes. The error is an [*Error]; it is fs.ErrNotExist
// where there is none.
func ReadFile(path string) ([]byte, error) {
	data, err := safefile.Read(path, MaxFileSize)
	if err != nil {
		return nil, &Error{File: path, Err: safefile.Reason(err)}
	}
	return data, nil
}
