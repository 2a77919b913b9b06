--- A program in a real terminal: tmux, with a server and a configuration of its own. Waiting is
--- polling with deadlines; every terminal is closed with its server.
local process = require "spec.support.process"
local uv = require "luv"

local M = {}

local Terminal = {}
Terminal.__index = Terminal

local serial = 0

local function tmux(self, ...)
    local status, out, err = process.run({ "/usr/bin/tmux", "-L", self.socket, "-f", "/dev/null", ... },
        { env = { TMUX = "", TMUX_TMPDIR = self.dir }, seconds = 20 })
    if status ~= 0 then error(("tmux %s: %s"):format(table.concat({ ... }, " "), err .. out), 3) end
    return out
end

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

--- Starts a program in a terminal.
---@param argv string[]
---@param options { dir: string, width: integer?, height: integer?, env: table<string, string>? }
function M.start(argv, options)
    serial = serial + 1
    local self = setmetatable({ socket = ("usher-%d-%d"):format(uv.os_getpid(), serial), dir = options.dir,
        width = options.width or 100, height = options.height or 30 }, Terminal)
    local words = {}
    for i, word in ipairs(argv) do words[i] = quote(word) end
    local env = { "env", "-u", "NO_COLOR", "TERM=screen-256color", "LC_ALL=C.UTF-8", "TZ=UTC" }
    for name, value in pairs(options.env or {}) do env[#env + 1] = quote(name .. "=" .. value) end
    -- The shell stays to show how the program ended.
    local command = table.concat(env, " ") .. " " .. table.concat(words, " ") ..
        "; echo \"[ended $?]\"; exec sleep 600"
    tmux(self, "new-session", "-d", "-x", tostring(self.width), "-y", tostring(self.height), command)
    tmux(self, "set-option", "-g", "history-limit", "20000")
    return self
end

--- Types text as it is.
function Terminal:type(text)
    for at = 1, #text, 1000 do tmux(self, "send-keys", "-l", "--", text:sub(at, at + 999)) end
end

--- Presses keys by tmux's names: Enter, Tab, Up, C-c, C-d, C-r, BSpace ...
function Terminal:press(...) tmux(self, "send-keys", ...) end

--- Types a line and Enter.
function Terminal:line(text)
    self:type(text)
    self:press("Enter")
end

--- Pastes a text as a terminal does, line ends and all.
function Terminal:paste(text)
    local path = self.dir .. "/paste.txt"
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    tmux(self, "load-buffer", path)
    tmux(self, "paste-buffer", "-d")
    os.remove(path)
end

function Terminal:resize(width, height)
    self.width, self.height = width, height or self.height
    tmux(self, "resize-window", "-x", tostring(self.width), "-y", tostring(self.height))
end

--- What is on the screen; with `all` also what has scrolled away, `colours` with escape codes.
function Terminal:screen(all, colours)
    local words = { "capture-pane", "-p" }
    if all then
        words[#words + 1] = "-S"
        words[#words + 1] = "-"
    end
    if colours then words[#words + 1] = "-e" end
    return (tmux(self, table.unpack(words)):gsub("%s+$", "") .. "\n")
end

--- The last line that is not empty.
function Terminal:last()
    return self:screen():match("([^\n]*)\n$")
end

--- Waits until `check` (a plain text, or a function of the screen) is on the screen.
function Terminal:wait(check, seconds, all)
    local seen = ""
    local result = process.poll(seconds or 20, function()
        seen = self:screen(all)
        if type(check) == "function" then return check(seen) end
        return seen:find(check, 1, true) ~= nil
    end)
    if not result then
        error(("not on the screen within %d s: %s\n%s"):format(seconds or 20, tostring(check), seen), 2)
    end
    return seen
end

--- Waits until the last line is `text`: an idle prompt, usually.
function Terminal:wait_last(text, seconds)
    local seen = ""
    local result = process.poll(seconds or 20, function()
        seen = self:last() or ""
        if type(text) == "function" then return text(seen) end
        return seen == text
    end)
    if not result then
        error(("the last line is not `%s` within %d s but `%s`\n%s"):format(tostring(text), seconds or 20, seen,
            self:screen()), 2)
    end
    return seen
end

--- Process id of the program (the child of the terminal's shell).
function Terminal:pid()
    local shell = tmux(self, "display-message", "-p", "#{pane_pid}"):match("%d+")
    local file = io.open(("/proc/%s/task/%s/children"):format(shell, shell))
    local children = file and file:read("a") or ""
    if file then file:close() end
    return tonumber(children:match("%d+"))
end

function Terminal:close()
    pcall(tmux, self, "kill-server")
end

return M
