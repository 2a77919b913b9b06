--- `usher policy test PATH [--customers N] [--seed N] [BUSTED-OPTION...]`: busted over a policy's
--- *_spec.lua, in the program's own process. Ends the process when something fails, as busted does.
local path, kind = ... -- the folder or file; "folder" or "file"

local function fail(text)
    io.stderr:write("usher: ", text, "\n")
    os.exit(1, true)
end

-- A spec that ended the program would pass for specs that held: only busted may, when something failed.
local exit = os.exit
local there, compatibility = pcall(require, "busted.compatibility")
if there then compatibility.exit = function(code) exit(code == 0, true) end end

local ok, runner = pcall(require, "busted.runner")
if not ok then
    fail("`policy test` runs specs with busted, which is not installed here: apt-get install lua-busted")
end

-- A lone policy.lua has its specs beside it; a lone spec is run alone.
local folder, root = path, "."
if kind == "file" then
    folder, root = path:match("^(.*)/([^/]*)$")
    if not folder then folder, root = ".", path end
    if not root:find("_spec%.lua$") then root = "." end
end

--- Takes `--name N` or `--name=N` out of the arguments, for every property of the run.
local function take_number(name)
    for i, word in ipairs(arg) do
        local value = word == "--" .. name and arg[i + 1] or word:match("^%-%-" .. name .. "=(.*)$")
        if value then
            local n = math.tointeger(tonumber(value))
            if not n or n < 1 then fail(("--%s takes a whole number, 1 or more"):format(name)) end
            table.remove(arg, i)
            if word == "--" .. name then table.remove(arg, i) end
            require("usher.test.property").run_with[name] = n
            return
        elseif word == "--" .. name then
            fail(("--%s takes a whole number, 1 or more"):format(name))
        end
    end
end
take_number "customers"
take_number "seed"

local line = { [0] = "usher policy test", "-C", folder, "--pattern=_spec%.lua$", "--no-recursive", table.unpack(arg) }
line[#line + 1] = root
rawset(_G, "arg", line)

-- luacheck: globals os.exit
os.exit = function() error("os.exit: a spec does not end the program", 2) end

-- A folder's own modules are found by its specs as the policy finds them.
package.path = "./?.lua;" .. package.path
runner { standalone = false }
