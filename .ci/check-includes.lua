-- Keeps includes to the module order of the architecture: a module includes only
-- what stands above it. Also: who may include which outside library.
local allowed = {
    base = { base = true },
    store = { base = true, store = true },
    policy = { base = true, store = true, policy = true },
    raftio = { base = true, raftio = true },
    cluster = { base = true, store = true, raftio = true, cluster = true },
    script = { base = true, store = true, policy = true, raftio = true, cluster = true, script = true },
    service = { base = true, store = true, policy = true, raftio = true, cluster = true, script = true,
        service = true },
    net = { base = true, store = true, policy = true, raftio = true, cluster = true, service = true,
        script = true, net = true, usher = true },
    console = { base = true, store = true, policy = true, raftio = true, cluster = true, script = true,
        net = true, console = true },
}
-- Outside header (prefix) -> modules that may use it; of raftio only the env_uv files.
local outside = {
    ["raft"] = { cluster = true },
    ["uv"] = { net = true, console = true, env_uv = true },
    ["lua"] = { policy = true, script = true, console = true },
    ["lauxlib"] = { policy = true, script = true, console = true },
    ["lualib"] = { policy = true, script = true, console = true },
    ["hiredis"] = { net = true, console = true },
    ["openssl"] = { raftio = true, service = true, net = true, policy = true, console = true },
    ["xxhash"] = { base = true },
    ["libaio"] = { env_uv = true },
}

local files, bad = 0, 0
local function complain(...)
    bad = bad + 1
    io.stderr:write(string.format(...), "\n")
end

local pipe = assert(io.popen("git ls-files --cached --others --exclude-standard -- src include"))
for path in pipe:lines() do
    local module = path:match("^src/([^/]+)/.+%.[ch]$")
    if path:match("%.[ch]$") then
        files = files + 1
        local n = 0
        local file = io.open(path)
        for line in (file and file:lines() or function() end) do
            n = n + 1
            local quoted, angled = line:match('^%s*#%s*include%s+"([^"]+)"'), line:match("^%s*#%s*include%s+<([^>]+)>")
            if quoted and module then
                local other = quoted:match("^([^/]+)/")
                if not other then
                    complain('%s:%d: include "%s" by its full path from src/', path, n, quoted)
                elseif not (allowed[module] or {})[other] then
                    complain("%s:%d: %s may not include %s", path, n, module, quoted)
                end
            end
            local library = angled and (angled:match("^([%w_]+)/") or angled:match("^([%w_]+)%.h$"))
            local users = library and outside[library]
            local user = path:match("^src/raftio/env_uv") and "env_uv" or module
            if users and user and not users[user] then
                complain("%s:%d: %s may not include <%s>", path, n, module, angled)
            end
        end
        if file then file:close() end
    end
end
pipe:close()
print(("includes: %d files"):format(files))
os.exit(files > 0 and bad == 0)
