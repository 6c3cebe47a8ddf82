-- The program's own language server in Neovim 0.7 or newer: what it underlines, offers and fixes.
-- `SOP_LSP="COMMAND ARGUMENT…" nvim --headless --clean -u neovim.lua`
local failures, passed = {}, 0
local function judge(what, holds, found)
  if holds then passed = passed + 1 else table.insert(failures, what .. ": " .. vim.inspect(found)) end
end

local function main()
  local dir = vim.fn.tempname()
  vim.fn.mkdir(dir, "p")
  local file = dir .. "/book.yaml"
  vim.fn.writefile({
    "name: book",
    "steps:",
    "  - id: group",
    "    action: find_nodegroup",
    "    with: {region: us-west-2, cluster: relay, labels: {Name: relay}}",
    '    log: "🚀🚀 {{ group.nmae }}"',
    "",
  }, file)
  vim.cmd("edit " .. vim.fn.fnameescape(file))
  local buffer = vim.api.nvim_get_current_buf()
  local client = vim.lsp.start_client({ name = "rafay-relay-sop", cmd = vim.split(vim.env.SOP_LSP, " "), root_dir = dir })
  vim.lsp.buf_attach_client(buffer, client)

  local diagnostics = function() return vim.diagnostic.get(buffer) end
  local function wait(what, condition)
    judge(what, vim.wait(30000, condition, 20), diagnostics())
  end
  local function ask(method, params)
    local answers = vim.lsp.buf_request_sync(buffer, method, params, 30000) or {}
    return (answers[client] or {}).result
  end
  local function place(line, column)
    return { textDocument = { uri = vim.uri_from_bufnr(buffer) }, position = { line = line, character = column } }
  end

  wait("the mistake is found", function() return #diagnostics() == 1 end)
  local found = diagnostics()[1] or {}
  local line = vim.api.nvim_buf_get_lines(buffer, 5, 6, false)[1]
  -- Neovim counts the columns of its own diagnostics in bytes.
  judge("it is underlined", found.lnum == 5 and found.col == line:find("nmae") - 1, found)

  local action = place(5, 22)
  local range = found.user_data and found.user_data.lsp.range
    or { start = { line = 5, character = 25 }, ["end"] = { line = 5, character = 25 } }
  action = { textDocument = action.textDocument, range = range, context = { diagnostics = {} } }
  local actions = ask("textDocument/codeAction", action) or {}
  judge("a fix is offered", actions[1] ~= nil, actions)
  vim.lsp.util.apply_workspace_edit(actions[1].edit, vim.lsp.get_client_by_id(client).offset_encoding)
  line = vim.api.nvim_buf_get_lines(buffer, 5, 6, false)[1]
  judge("the fix is right", line == '    log: "🚀🚀 {{ group.name }}"', line)
  wait("nothing is left", function() return #diagnostics() == 0 end)

  vim.api.nvim_buf_set_lines(buffer, 6, 7, false, { "  - id: more", "    action: scale_" })
  local offered = ask("textDocument/completion", place(7, 18)) or { items = {} }
  local labels = vim.tbl_map(function(item) return item.label end, offered.items)
  judge("actions are offered", vim.tbl_contains(labels, "scale_nodegroup"), labels)
  local hover = ask("textDocument/hover", place(3, 15)) or { contents = {} }
  judge("an action is explained", (hover.contents.value or ""):find("nodegroup", 1, true) ~= nil, hover)
end

local ok, problem = pcall(main)
if not ok then table.insert(failures, problem) end
if #failures > 0 then
  io.stderr:write(table.concat(failures, "\n") .. "\n")
  vim.cmd("cquit 1")
end
io.stdout:write("Neovim: " .. passed .. " questions, all answered well\n")
vim.cmd("qall!")
