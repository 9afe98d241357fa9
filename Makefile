# Each target is one line over `cargo xtask`, where the logic is Rust and tested (xtask/).
#   make demo [ARGS=--exit]   the whole story on this machine
#   make test                 installs what tests need, then checks and runs everything
#   make check                format, lints, walls, docs
#   make bench                measures against the budgets
#   make generate             rewrites the generated reference documents

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/keyferry/target

.PHONY: demo test check bench generate
demo: ; cargo xtask demo $(ARGS)
test: ; cargo xtask test $(ARGS)
check: ; cargo xtask check $(ARGS)
bench: ; cargo xtask bench $(ARGS)
generate: ; cargo xtask generate $(ARGS)
