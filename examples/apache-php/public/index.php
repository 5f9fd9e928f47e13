<?php
// A page where visitors leave a line. The lines are in data/lines, one a line, as JSON.

declare(strict_types=1);

const LINES_FILE = __DIR__ . '/../data/lines';
const LINES_SHOWN = 20;
const LINE_CHARS_MAX = 200;

/** The newest first. Read from the end of the file: it may have grown. */
function newest_lines(): array
{
    $file = @fopen(LINES_FILE, 'r');
    if ($file === false) {
        return [];
    }
    $end = fstat($file)['size'];
    // A line is at most so long: each character as an escape, the name and the time.
    $from = max(0, $end - LINES_SHOWN * (LINE_CHARS_MAX * 12 + 100));
    fseek($file, $from);
    $lines = explode("\n", stream_get_contents($file));
    if ($from > 0) {
        array_shift($lines);
    }
    $read = array_filter(array_map(fn ($line) => json_decode($line, true), $lines));
    return array_slice(array_reverse($read), 0, LINES_SHOWN);
}

/** Why it is not taken, or null. */
function leave_line(string $text): ?string
{
    $text = trim($text);
    // With u, text that is not UTF-8 does not match either.
    if (preg_match('/^.{1,' . LINE_CHARS_MAX . '}$/us', $text) !== 1) {
        return 'A line has 1 to ' . LINE_CHARS_MAX . ' characters.';
    }
    $line = json_encode(['text' => $text, 'at' => gmdate('Y-m-d H:i')]) . "\n";
    return file_put_contents(LINES_FILE, $line, FILE_APPEND | LOCK_EX) === false ? 'It cannot be kept right now.' : null;
}

function refuse(int $code, string $words): never
{
    http_response_code($code);
    header('Content-Type: text/plain; charset=utf-8');
    exit("$words\n");
}

header('Cache-Control: no-store');
switch ($_SERVER['REQUEST_METHOD']) {
    case 'POST':
        // Browsers say where a form comes from.
        if (!in_array($_SERVER['HTTP_SEC_FETCH_SITE'] ?? 'same-origin', ['same-origin', 'none'], true)) {
            refuse(403, 'This form was sent by another site.');
        }
        $text = $_POST['line'] ?? '';
        $refusal = leave_line(is_string($text) ? $text : '');
        if ($refusal !== null) {
            refuse(422, $refusal);
        }
        header('Location: ./', true, 303);
        exit;
    case 'GET':
    case 'HEAD':
        break;
    default:
        header('Allow: GET, HEAD, POST');
        refuse(405, 'GET it, or POST a line.');
}
if (isset($_GET['newest'])) {
    header('Content-Type: application/json');
    exit(json_encode(newest_lines()[0] ?? null) . "\n");
}
?>
<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>The wall</title>
<style>
body { font: 1.1rem/1.5 system-ui; max-width: 34rem; margin: 8vh auto; padding: 0 1rem }
ul { list-style: none; padding: 0 } li { overflow-wrap: anywhere } time { opacity: .6; font-size: .8em }
form { display: flex; gap: .5rem } input { flex: 1; min-width: 0 } input, button { font: inherit; padding: .3rem .6rem }
</style>
<h1>The wall</h1><p>Leave a line for who comes after you.</p>
<form method="post" action="./"><input name="line" maxlength="<?= LINE_CHARS_MAX ?>" required aria-label="Your line">
<button>Leave it</button></form>
<ul>
<?php foreach (newest_lines() as $line): ?>
<li><?= htmlspecialchars($line['text']) ?> <time><?= htmlspecialchars($line['at']) ?></time></li>
<?php endforeach ?>
</ul></html>
