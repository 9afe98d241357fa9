# Every target is `cargo xtask` of the same name, where the logic is Rust and tested (xtask/).
#   make demo [ARGS=--exit]   the whole story on this machine
#   make test                 installs what tests need, then checks and runs everything
#   make check                format, lints, walls, docs
#   make bench                measures against the budgets
#   make generate             rewrites the generated reference documents

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/keyferry/target

# Cargo tells clones that share this folder apart by file times alone, and would give an older clone what
# a newer one built. Whoever was not the last to build here starts with new times.
define own_target
	@mkdir -p '$(CARGO_TARGET_DIR)'
	@[ "$$(cat '$(CARGO_TARGET_DIR)/checkout' 2>/dev/null)" = '$(CURDIR)' ] || \
		{ find crates policies testkit tests xtask -type f -exec touch {} + && \
		echo '$(CURDIR)' > '$(CARGO_TARGET_DIR)/checkout'; }
endef

.PHONY: demo test check bench generate
demo test check bench generate:
	$(own_target)
	cargo xtask $@ $(ARGS)
