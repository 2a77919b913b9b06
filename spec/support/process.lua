--- Starts and watches real processes (on libuv). Waiting is always polling with a deadline.
local uv = require "luv"

local M = {}

--- Seconds on a clock that never goes back.
function M.now() return uv.hrtime() / 1e9 end

--- Lets events of processes arrive, then gives the machine away for some ms: the pause between
--- two looks of poll().
local function turn(ms)
    uv.run("nowait")
    uv.sleep(ms)
end

--- Calls `check` until it returns something true, at most `seconds`; returns that, or
--- nil and what it last returned besides.
---@param seconds number
---@param check fun(): any, any
function M.poll(seconds, check)
    local deadline = M.now() + seconds
    while true do
        local result, why = check()
        if result then return result end
        if M.now() > deadline then return nil, why end
        turn(10)
    end
end

--- As poll(), but the time running out is an error that says what was waited for.
function M.wait_for(what, seconds, check)
    local result, why = M.poll(seconds, check)
    if not result then
        error(("%s: not within %s s%s"):format(what, seconds, why and " (" .. tostring(why) .. ")" or ""), 2)
    end
    return result
end

local Process = {}
Process.__index = Process

local function environment(extra)
    local env = {}
    for name, value in pairs(uv.os_environ()) do
        if not (extra and extra[name]) then env[#env + 1] = name .. "=" .. value end
    end
    for name, value in pairs(extra or {}) do env[#env + 1] = name .. "=" .. value end
    return env
end

--- Starts argv[1] with the other words; stdout and stderr go to the files `out` and `err`
--- (`err` defaults to `out`), appended.
---@param argv string[]
---@param options { out: string?, err: string?, env: table<string, string>?, stdin: string?, cwd: string? }?
function M.start(argv, options)
    options = options or {}
    local self = setmetatable({ argv = argv, out = options.out }, Process)
    local files = {
        assert(uv.fs_open(options.stdin or "/dev/null", "r", 0)),
        assert(uv.fs_open(options.out or "/dev/null", "a", 420)),
        assert(uv.fs_open(options.err or options.out or "/dev/null", "a", 420)),
    }
    local handle, pid
    handle, pid = uv.spawn(argv[1], {
        args = { table.unpack(argv, 2) }, stdio = files, cwd = options.cwd, env = environment(options.env),
    }, function(status, signal)
        self.status = signal ~= 0 and 128 + signal or status
        handle:close()
    end)
    for _, fd in ipairs(files) do uv.fs_close(fd) end
    if not handle then error(("cannot start %s: %s"):format(argv[1], pid), 2) end
    self.handle, self.pid = handle, pid
    return self
end

function Process:signal(name) if not self:ended() then uv.process_kill(self.handle, name) end end

function Process:kill() self:signal("sigkill") end
function Process:pause() self:signal("sigstop") end
function Process:resume() self:signal("sigcont") end
function Process:terminate() self:signal("sigterm") end

--- Exit status (or 128 + signal) once it has ended, else nil.
function Process:ended()
    uv.run("nowait")
    return self.status
end

--- Waits for its end, at most `seconds`; kills it when that is not enough.
function Process:wait(seconds)
    local status = M.poll(seconds, function() return self:ended() end)
    if not status then
        self:kill()
        M.poll(5, function() return self:ended() end)
        error(table.concat(self.argv, " ") .. ": did not end within " .. seconds .. " s", 2)
    end
    return status
end

local function read(path)
    local file = path and io.open(path)
    if not file then return "" end
    local text = file:read("a")
    file:close()
    return text
end

function Process:output() return read(self.out) end

--- Runs a program to its end.
---@param argv string[]
---@param options { env: table<string, string>?, stdin: string?, input: string?, cwd: string?, seconds: number? }?
---@return integer status, string stdout, string stderr
function M.run(argv, options)
    options = options or {}
    local base, stdin = os.tmpname(), options.stdin
    if options.input then
        stdin = base .. ".in"
        local file = assert(io.open(stdin, "w"))
        file:write(options.input)
        file:close()
    end
    local process = M.start(argv, {
        out = base .. ".out", err = base .. ".err", env = options.env, stdin = stdin, cwd = options.cwd,
    })
    local ok, status = pcall(process.wait, process, options.seconds or 30)
    local out, err = read(base .. ".out"), read(base .. ".err")
    for _, ending in ipairs { "", ".in", ".out", ".err" } do os.remove(base .. ending) end
    if not ok then error(status .. "\n" .. out .. err, 2) end
    return status, out, err
end

return M
