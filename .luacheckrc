-- luacheck over everything that is Lua here. Each set of files knows the globals that its
-- virtual machine gives it (docs/lua.md) and no others.
std = "lua54"
max_line_length = 120
codes = true
exclude_files = { "build/**" }

-- The policy VM and bundles (docs/lua.md, 3).
local vm = { "command", "policy", "rule", "deny", "json" }
files["lua/commands/*.lua"] = { std = "lua54", read_globals = vm }
files["lua/usher/*.lua"] = { read_globals = vm }
files["lua/usher/rules/*.lua"] = { read_globals = vm }
files["lua/policy"] = { read_globals = vm }
files["tests/fuzz/policy/policy.lua"] = { read_globals = vm }

-- Node commands and scripts (docs/lua.md, 4).
local node = { "command", "json", "usher", "on", "every", "append", "check", "arg", "show", "exit",
    "now", "time", "sleep", "log", "print" }
files["lua/commands/node"] = { read_globals = node }
files["lua/usher/complete.lua"] = { read_globals = { "json", "usher" } }
files["lua/hooks"] = { read_globals = node }
files["lua/scripts"] = { read_globals = node }

files["spec"] = { std = "+busted" }
files["tests/fuzz/policy/storm_spec.lua"] = { std = "+busted" }
files["config.lua"] = { read_globals = { "env" } }
files["lua/policy/**/*_spec.lua"] = { std = "+busted", read_globals = vm }
files["lua/usher/types.lua"] = { ignore = { "121", "21.", "24.", "631" } } -- annotations, no code
