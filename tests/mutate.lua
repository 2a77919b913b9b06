--- `./dev mutate [NAME...]`: breaks, one at a time, things that the design forbids (mutants.lua),
--- and demands that the named test case fails for each. A mutant that survives is a hole in the
--- tests. Works on a copy of the tree below build/mutate, which a later run brings up to date. What a
--- broken program said is kept in build/mutate/build/NAME.log. Takes about ten minutes, so CI does not
--- run it. `-l` lists the mutants and says whose text is gone.
---
--- Each test program has to pass unbroken first: a test that always fails catches nothing.
package.path = "./?.lua;" .. package.path
local process = require "spec.support.process"
local mutants = dofile("tests/mutants.lua")

local COPY = "build/mutate"
local BUILD_SECONDS, TEST_SECONDS = 900, 180

local text_files = require "spec.support.files"
local read, write = text_files.read, text_files.write

local function bash(script)
    local status, out, err = process.run({ "/bin/bash", "-euc", script }, { seconds = BUILD_SECONDS })
    if status ~= 0 then error(script .. "\n" .. out .. err, 2) end
end

--- Makes the copy equal to the tree, by content: what did not change is not built again, and what
--- an interrupted run has left broken is mended.
local function copy_tree()
    bash("copy=" .. COPY .. [[

        mkdir -p $copy
        git ls-files -z --cached --others --exclude-standard |
            while IFS= read -r -d '' f; do if [ -f "$f" ]; then printf '%s\0' "$f"; fi; done |
            LC_ALL=C sort -z >$copy.files
        (cd $copy && find . -path ./build -prune -o -type f -printf '%P\0') | LC_ALL=C sort -z |
            LC_ALL=C comm -z -13 $copy.files - | (cd $copy && xargs -0 -r rm -f)
        while IFS= read -r -d '' f; do
            cmp -s "$f" "$copy/$f" || cp --parents "$f" $copy
        done <$copy.files
        rm $copy.files
        launcher=$(command -v ccache || true)
        cd $copy
        cmake --preset dev ${launcher:+-DCMAKE_C_COMPILER_LAUNCHER=$launcher}
    ]])
end

local function build(mutant)
    local command = { "/usr/bin/ninja", "-j2", "-C", "build/dev", mutant.spec and "usher" or mutant.test }
    if mutant.spec then command[#command + 1] = "usher_faults" end
    local status, out, err = process.run(command, { cwd = COPY, seconds = BUILD_SECONDS })
    return status == 0, out .. err
end

--- Runs the test program; returns whether it passed, and all it said, in order.
local function run(mutant)
    local command = mutant.spec and "lua5.4 /usr/bin/busted -o TAP " .. mutant.spec or "./build/dev/" .. mutant.test
    local ok, status, text = pcall(process.run, { "/bin/bash", "-c", "exec " .. command .. " 2>&1" }, {
        cwd = COPY, seconds = mutant.seconds or TEST_SECONDS, env = { USHER = "build/dev/usher" },
    })
    if not ok then return false, status end
    return status == 0, text
end

--- The first thing that the failing case complained of, and where.
local function complaint(text)
    local place = text:match("%[   LINE   %] %-%-%- [^\n]-([^/\n]+:%d+): error")
    local said = text:match("\nERROR: ([^\n]+)") or text:match("([^\n]+)\n%[   LINE   %]") or ""
    said = said:gsub("^%[  ERROR   %] %-%-%- ", ""):gsub("^Could not run test: ", "")
    if place then return ("%s (%s)"):format(said, place) end
    return text:match("[^\n]*[Aa]ssertion failed[^\n]*") or text:match("ERROR: AddressSanitizer[^\n]*") or
        text:match("did not end within [^\n]*") or "it crashed"
end

--- What the named case said when it failed, or when the program ended or hung in it; nil when it
--- passed or was not reached.
local function caught(mutant, text)
    if mutant.spec then
        local at = text:find("not ok [^\n]*" .. mutant.case:gsub("%p", "%%%0"))
        return at and (text:sub(at):match("\n# [^\n]*:(%d+:[^\n]*)") or "failed")
    end
    local at = text:find("[ RUN      ] " .. mutant.case .. "\n", 1, true)
    if not at then return nil end
    local rest = text:sub(at)
    local next_case = rest:find("[ RUN ", 2, true) or rest:find("[==========]", 2, true)
    local said = next_case and rest:sub(1, next_case - 1) or rest
    if said:find("[       OK ] " .. mutant.case .. "\n", 1, true) then return nil end
    return complaint(next_case and said or rest .. text)
end

local sound = {}

--- Whether the mutant's case is there and its program passes on the unbroken tree; run once.
local function passes_unbroken(mutant)
    local name = mutant.spec or mutant.test
    if sound[name] == nil then
        local built, text = build(mutant)
        local passed = false
        if built then passed, text = run(mutant) end
        sound[name] = passed and text
        if not passed then print(name .. " fails without any mutant:\n" .. text) end
    end
    local ok = mutant.spec and "ok [^\n]*" .. mutant.case:gsub("%p", "%%%0")
        or "OK %] " .. mutant.case .. "\n"
    return sound[name] and sound[name]:find(ok) ~= nil
end

--- Puts text where `from` stands, which must be there once.
local function replace_once(text, mutant)
    local at, stop = text:find(mutant.from, 1, true)
    if not at then return nil, "the text to break is gone" end
    if text:find(mutant.from, stop + 1, true) then return nil, "the text to break is there more than once" end
    return text:sub(1, at - 1) .. mutant.to .. text:sub(stop + 1)
end

--- true and what caught it, or false and what went wrong.
local function try(mutant)
    local path = COPY .. "/" .. mutant.file
    local original = read(path)
    local broken, gone = replace_once(original, mutant)
    if not broken then return false, gone .. ": " .. mutant.from end
    if not passes_unbroken(mutant) then
        return false, ("NO VERDICT: %s, %s does not pass unbroken"):format(mutant.spec or mutant.test, mutant.case)
    end
    write(path, broken)
    local ok, built, why, passed, text = pcall(function()
        local built, why = build(mutant)
        if not built then return false, why end
        return true, nil, run(mutant)
    end)
    write(path, original)
    if not ok then error(built, 0) end
    if not built then return false, "DOES NOT BUILD\n" .. why end
    write(("%s/build/%s.log"):format(COPY, mutant.name), text)
    local said = not passed and caught(mutant, text)
    if said then return true, said end
    return false, ("SURVIVED %s%s"):format(mutant.case, passed and "" or
        " (another case failed: " .. (text:match("%[  FAILED  %] ([%w_]+)\n") or "?") .. ")")
end

local only, list = {}, false
for _, name in ipairs(arg) do
    if name == "-l" then list = true else only[name] = true end
end
local known = {}
for _, mutant in ipairs(mutants) do known[mutant.name] = true end
for name in pairs(only) do
    if not known[name] then
        io.stderr:write("no such mutant: ", name, "; see ./dev mutate -l\n")
        os.exit(2)
    end
end

if not list then copy_tree() end
local passed, failed = 0, 0
for _, mutant in ipairs(mutants) do
    if list then
        local _, gone = replace_once(read(mutant.file), mutant)
        if gone then failed = failed + 1 end
        print(("%-26s %s%s"):format(mutant.name, mutant.breaks, gone and " (" .. gone .. ")" or ""))
    elseif next(only) == nil or only[mutant.name] then
        local ok, what = try(mutant)
        if ok then
            passed = passed + 1
            print(("%-26s caught by %s, %s: %s"):format(mutant.name, mutant.spec or mutant.test, mutant.case, what))
        else
            failed = failed + 1
            print(("%-26s %s"):format(mutant.name, what))
        end
        io.stdout:flush()
    end
end
if list then os.exit(failed == 0) end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0)
