// The functions of own_linux_amd64.go without a body are the runtime's; the
// compiler asks for an assembly file where a package has such.
