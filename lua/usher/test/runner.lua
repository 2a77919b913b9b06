--- `usher policy test PATH [BUSTED-OPTION...]`: busted over a policy's *_spec.lua, in the
--- program's own process. Ends the process when something fails, as busted does.
local path, kind = ... -- the folder or file; "folder" or "file"

local function fail(text)
    io.stderr:write("usher: ", text, "\n")
    os.exit(1, true)
end

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

local line = { [0] = "usher policy test", "-C", folder, "--pattern=_spec%.lua$", "--no-recursive", table.unpack(arg) }
line[#line + 1] = root
rawset(_G, "arg", line)

-- A folder's own modules are found by its specs as the policy finds them.
package.path = "./?.lua;" .. package.path
runner { standalone = false }
