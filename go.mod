module procdump

go 1.26
