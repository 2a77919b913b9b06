--- `./dev mutate [NAME...]`: breaks, one at a time, things that the design forbids, and demands that
--- the named test fails for each. A mutant that survives is a hole in the tests. Works on a copy of
--- the tree below build/mutate; takes some minutes, so CI does not run it.
package.path = "./?.lua;" .. package.path
local process = require "spec.support.process"
local mutants = dofile("tests/mutants.lua")

local COPY = "build/mutate"
local only = {}
for _, name in ipairs(arg) do only[name] = true end

local function sh(command, seconds)
    local status, out, err = process.run({ "/bin/bash", "-c", command }, { seconds = seconds or 600 })
    return status, out .. err
end

local function must(command)
    local status, text = sh(command)
    if status ~= 0 then error(command .. "\n" .. text, 2) end
end

local function read(path)
    local file = assert(io.open(path))
    local text = file:read("a")
    file:close()
    return text
end

local function write(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end

--- Replaces exactly one occurrence of plain text.
local function replace_once(text, from, to, name)
    local at, stop = text:find(from, 1, true)
    assert(at, name .. ": the text to break is gone: " .. from)
    assert(not text:find(from, stop + 1, true), name .. ": the text to break is there more than once")
    return text:sub(1, at - 1) .. to .. text:sub(stop + 1)
end

must(("mkdir -p %s && git ls-files -z | xargs -0 cp --parents -pu -t %s"):format(COPY, COPY))
must(("cd %s && cmake --preset dev >/dev/null"):format(COPY))

local passed, failed = 0, 0
for _, mutant in ipairs(mutants) do
    if next(only) == nil or only[mutant.name] then
        local path = COPY .. "/" .. mutant.file
        local original = read(path)
        write(path, replace_once(original, mutant.from, mutant.to, mutant.name))
        local target = mutant.spec and "usher" or mutant.test
        local built, why = sh(("cd %s && ninja -C build/dev %s"):format(COPY, target))
        local run = mutant.spec
            and ("cd %s && USHER=build/dev/usher lua5.4 /usr/bin/busted %s"):format(COPY, mutant.spec)
            or ("cd %s && build/dev/%s"):format(COPY, mutant.test)
        local ok, status, text = pcall(sh, run, mutant.seconds or 120)
        write(path, original)
        if built ~= 0 then
            failed = failed + 1
            print(("%-28s DOES NOT BUILD\n%s"):format(mutant.name, why))
        elseif ok and status == 0 then
            failed = failed + 1
            print(("%-28s SURVIVED %s"):format(mutant.name, mutant.spec or mutant.test))
        else
            passed = passed + 1
            local first = ok and (text:match("%[  ERROR   %] %-%-%-[^\n]*") or text:match("\n(not ok [^\n]*)") or
                text:match("Failure[^\n]*") or text:match("assertion failed: [^\n]*") or "") or "did not end"
            print(("%-28s caught by %s  %s"):format(mutant.name, mutant.spec or mutant.test, first))
        end
    end
end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0)
