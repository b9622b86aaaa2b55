"""Function words, numerals and words of reasoning of 17 languages in Latin letters, written down for this project.

`distill.text.latin` tells languages apart by them. A word stands under each language that it is common in; the English list is the longest,
because whatever is an English word too ("die", "hay", "plus", "son") must not count for another language. They are no dictionaries, and
Norwegian counts as Danish, Malay as Indonesian.
"""

WORDS = {
    "en": """
the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were when we there can an
your which their said if do will each about how up out them then she many some so these would other into has more her two like him see
time could no make than first been its who now people my made over did down only way find use may water long little very after words
called just where most know get through back much before go good new write our used me man too any day same right look think also around
another came come work three word must because does part even place well such here take why things help put years different away again off
went old number great tell men say small every found still between name should home big give air line set own under read last never us
left end along while might next sound below saw something thought both few those always looked show large often together asked house world
going want school important until form food keep children feet land side without boy once animals life enough took four head above kind
began almost live page got earth need far hand high year mother light parts country father let night following picture being study second
eyes soon times story boys since white days ever paper hard near sentence better best across during today others however sure means knew
try told young miles sun ways thing whole hear example heard several change answer room sea against top turned learn point city play
toward five six seven eight nine ten using himself herself itself themselves usually he you am ll ve re don doesn didn isn aren wasn weren
won wouldn couldn shouldn hasn haven sum total equals equal add adding subtract multiply divide divided value values equation therefore
thus hence per cost costs price dollars remaining given calculate problem solution step steps result check wait okay alternatively maybe
actually hundred thousand zero double half buy buys bought sell sold pay paid spend spent apples eggs books hours minutes weeks months
pounds inches cups pieces students friends items
""",
    "es": """
el la los las un una unos unas lo al del de en con por para sin sobre entre desde hasta hacia según durante mediante tras ante bajo contra
y e o u ni que qué quien quién cual cuál cuales cuyo cuya donde dónde cuando cuándo como cómo cuanto cuánto cuanta cuántas cuántos porque
pues pero sino aunque mientras si sí no nunca siempre también tampoco ya aún todavía ahora entonces luego después antes aquí ahí allí así
muy más menos mucho mucha muchos muchas poco pocos todo toda todos todas otro otra otros otras mismo misma cada algún alguna algunos
ningún ninguna nada nadie algo este esta esto estos estas ese esa eso esos esas aquel aquella yo tú él ella ello nosotros ustedes ellos
ellas me te se le les nos os mi mis tu tus su sus nuestro nuestra es son era eran fue fueron ser sido siendo está están estaba estar hay
había haber ha han hemos he tiene tienen tenemos tenía tener hace hacer puede pueden podemos podría poder debe debemos deben sea sería va
van vamos ir queda quedan dar da dice uno dos tres cuatro cinco seis siete ocho nueve diez once doce veinte treinta cien ciento mil
primero primer primera segundo segunda tercero tercer último solo sólo cantidad número números suma sumamos sumar resta restamos restar
multiplicamos dividimos calcular calculamos calcula resultado respuesta resultados problema solución ecuación valor paso pasos ejemplo
igual mitad doble parte veces vez día días años horas manzanas dinero obtenemos necesitamos sabemos significa decir tanto tal bien cosa
forma manera momento pregunta nombre mes meses además incluso debido través acuerdo embargo siguiente siguientes anterior usar utilizar
usando necesario posible verdadero falso
""",
    "fr": """
le la les un une des du de au aux en dans par pour sans sur sous avec chez vers entre depuis pendant avant après contre selon et ou où
mais donc or ni car que qui quoi dont lequel laquelle quand comme comment combien pourquoi parce puisque lorsque si alors ainsi aussi
encore toujours jamais déjà maintenant ensuite puis enfin ici là très trop plus moins peu beaucoup tout toute tous toutes autre autres
même mêmes chaque quelque quelques aucun aucune rien personne ce cet cette ces ceci cela ça celui celle ceux je tu il elle on nous vous
ils elles me te se lui leur leurs moi toi soi mon ma mes ton ta tes son sa ses notre nos votre vos est sont était étaient été être suis
sommes êtes sera serait soit ont avait avons avez avoir eu ai as aura fait font faire faut peut peuvent pouvons pouvoir doit doivent
devons va vont allons aller dit dire reste restent ne pas point qu jusqu lorsqu puisqu quelqu aujourd hui deux trois quatre cinq sept huit
neuf dix onze douze vingt trente cent mille premier première deuxième second seconde troisième dernier nombre nombres somme additionne
additionnons soustrait soustrayons multiplions divisons calculer calculons calcule résultat réponse problème solution équation valeur
étape exemple égal égale moitié fois jour jours ans heures pommes argent obtenons obtient savons signifie bien chose façon manière
question voici voilà lors tel celles lesquels plutôt souvent deviennent utiliser suivant suivante suivants précédent nécessaire possible
vrai faux veuillez saisir valeurs
""",
    "de": """
der die das den dem des ein eine einen einem einer eines kein keine keinen und oder aber denn sondern doch weil dass daß wenn als ob wie
wo wer was wann warum wieviel welche welcher welches welchen wobei damit dadurch daher deshalb deswegen also dann danach zuerst nun jetzt
noch schon immer nie nur auch sehr mehr weniger viel viele vielen wenig alle allen alles andere anderen jeder jede jedes jeden etwas
nichts man ich du er sie es wir ihr mich mir dich dir ihn ihm uns euch ihnen sich mein meine dein sein seine seinen seiner ihre ihren
ihrem unser unsere dieser diese dieses diesen diesem jener in im an am auf aus bei beim mit nach von vom vor zu zum zur über unter
zwischen durch für gegen ohne um bis seit während hier dort da so ist sind war waren bin wird werden wurde wurden worden hat haben hatte
hatten kann können konnte muss müssen soll sollen will wollen darf möchte gibt geben bleibt bleiben macht machen lassen lass nicht ja nein
eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig hundert tausend erste ersten erstens zweite zweiten dritte
letzte anzahl zahl zahlen summe addieren subtrahieren multiplizieren dividieren berechnen berechne ergebnis ergibt antwort aufgabe lösung
gleichung wert schritt schritte beispiel gleich hälfte mal tag tage jahre stunden äpfel geld insgesamt erhalten wissen bedeutet heißt ganz
sodass jedoch bereits wieder bitte jeweils sofern falls beide beiden eigenen müssten könnten bevor nachdem anstatt sowie sonst folgende
folgenden folgt sodann oben unten wahr falsch steht geht kommt nimmt rechnen wenden eingeben angegeben zeichen
""",
    "pt": """
o a os as um uma uns umas ao aos à às do da dos das no na nos nas num numa pelo pela pelos pelas de em com por para sem sobre entre desde
até sob contra após durante segundo e ou mas nem que quê quem qual quais cujo onde quando como quanto quantos quantas quanta porque pois
porém embora enquanto se não sim nunca sempre também já ainda agora então depois antes aqui ali lá assim muito muita muitos muitas mais
menos pouco todo toda todos todas outro outra outros outras mesmo mesma cada algum alguma alguns algumas nenhum nenhuma nada ninguém algo
isto isso aquilo este esta estes estas esse essa esses essas aquele aquela eu tu ele ela nós você vocês eles elas me te lhe lhes meu minha
teu seu sua seus suas nosso nossa é são era eram foi foram ser sido sendo está estão estava estar há havia haver tem têm temos tinha ter
faz fazer pode podem podemos poderia poder deve devemos devem seja seria vai vão vamos ir resta restam dar dá diz dois duas três quatro
cinco seis sete oito nove dez onze doze vinte trinta cem cento mil primeiro primeira segunda terceiro último só apenas quantidade número
números soma somamos somar subtraímos subtrair multiplicamos dividimos calcular calculamos resultado resposta problema solução equação
valor passo passos exemplo igual metade dobro parte vezes vez dia dias anos horas maçãs dinheiro obtemos precisamos sabemos significa
dizer tanto tal bem coisa forma pergunta nome arquivo mês meses além disso portanto devido através seguinte seguintes anterior usar
utilizar usando necessário possível verdadeiro falso sistema linha chama esteja favor
""",
    "it": """
il lo la gli le un uno una di del dello della dei degli delle al allo alla ai agli alle dal dallo dalla dai dalle nel nello nella nei
nelle sul sullo sulla sui sulle col da in con su per tra fra senza sopra sotto dopo prima durante contro verso fino e ed o oppure ma che
chi cui quale quali dove quando come quanto quanti quante quanta perché poiché mentre anche se sì non mai sempre ancora già ora adesso
quindi poi allora qui qua così molto molta molti molte più meno poco tutto tutta tutti tutte altro altra altri altre stesso stessa ogni
qualche alcuni alcune nessun nessuno niente nulla questo questa questi queste quello quella quelli quelle io tu lui lei noi voi loro mi ti
si ci vi ne mio mia tuo suo sua suoi sue nostro nostra è sono era erano fu stato stata essere essendo sia sarà sarebbe ha hanno ho abbiamo
aveva avere fa fare può possono possiamo potrebbe potere deve dobbiamo devono va vanno andare resta rimane rimangono dare dà dice due tre
quattro cinque sei sette otto nove dieci undici dodici venti trenta cento mille primo secondo seconda terzo ultimo solo soltanto quantità
numero numeri somma sommiamo sommare sottraiamo sottrarre moltiplichiamo dividiamo calcolare calcoliamo calcola risultato risposta
problema soluzione equazione valore passo passi esempio uguale metà doppio parte volte volta giorno giorni anni ore mele soldi otteniamo
sappiamo significa dire dunque infatti bene cosa modo nome essa esso esse viene vengono bisogna usare utilizzare usando inoltre invece
tuttavia pertanto seguente seguenti precedente necessario possibile vero falso sistema riga pagina luogo almeno all dall dell nell sull
quell dev dovrebbe favore
""",
    "nl": """
de het een van en in is dat die op te zijn voor met niet aan er ook als maar om hij nog naar dan bij uit kan dus wordt worden werd wij wel
geen deze meer minder door over heeft hebben had we ze zij moet moeten nu of dit wat zou zullen zal kunnen wie waar wanneer waarom hoe
hoeveel welke want omdat terwijl tot tegen tussen onder boven zonder sinds tijdens na vanaf binnen buiten al alle alles andere anderen
ander elk elke ieder iets niets iemand veel weinig heel zeer zo daar hier toen eerst daarna vervolgens altijd nooit weer reeds slechts
alleen samen ik jij je u hem haar ons onze jullie hun mij jou mijn jouw zich zichzelf ben bent was waren geweest gaat gaan laten laat doet
doen krijgt krijgen blijft blijven twee drie vier vijf zes zeven acht negen tien elf twaalf twintig dertig honderd duizend eerste tweede
derde laatste aantal getal getallen som optellen aftrekken vermenigvuldigen delen berekenen bereken resultaat antwoord probleem oplossing
vergelijking waarde stap stappen voorbeeld gelijk helft dubbel keer dag dagen jaar uur appels geld totaal weten betekent ten ter deel
zodat echter zoals indien volgende vorige gebruik gebruikt gebruiken nodig mogelijk onwaar bestand lijst geldige naam bevat informatie
beschikbaar eigen beide zelf eens
""",
    "sv": """
och att det som en på är av för med den till inte om ett han men var jag sig från vi så kan när år säga hon under också efter eller nu sin
där vid mot ska skulle kommer ut får finns vara hade alla andra mycket än här då sedan över bara in blir upp även vad få två vill ha många
hur mer går sätt denna detta dessa dem oss er du de hans hennes deras vår vårt min mitt din inga ingen inget någon något några varje
mellan utan genom innan medan eftersom därför alltså först sist hela samma båda lika har blev blivit göra gör ge ger måste bör kunde låt
tre fyra fem sex sju åtta nio tio elva tolv tjugo hundra tusen första tredje sista antal antalet tal talet summa summan addera subtrahera
multiplicera dividera beräkna beräknar resultat resultatet svar svaret problem lösning ekvation värde steg exempel hälften dubbelt gånger
dag dagar timmar äpplen pengar totalt återstår vet betyder innebär vilket vilken vilka varför använd använda används följande föregående
nödvändigt möjligt sant falskt istället både själv namn fil
""",
    "da": """
og at det som en på er af for med den til ikke om et han men var jeg sig fra vi så kan når år sige hun under også efter eller nu sin der
ved mod skal skulle kommer ud får findes være havde alle andre meget end her da over kun ind bliver op hvad få to vil have mange hvor
hvordan mere går denne dette disse dem os jer du de hans hendes deres vores min mit din ingen intet nogen noget nogle hver hvert mellem
uden gennem før mens fordi derfor altså først sidst hele samme begge lige har blev blevet gøre gør give giver må måtte bør kunne lad lade
tre fire fem seks syv otte ni ti elleve tolv tyve hundrede tusind første anden tredje sidste antal antallet tal tallet sum summen adderer
trækker ganger dividere beregne beregner regner resultat resultatet svar svaret problem løsning ligning værdi trin eksempel halvdelen
dobbelt gange dag dage timer æbler penge alt tilbage betyder hvilket hvilken hvilke hvorfor hvis av etter noe mye vært mellom uten brug
bruge bruges følgende forrige nødvendigt muligt sandt falsk både selv navn fil
""",
    "fi": """
ja on ei se että hän oli mutta niin kun kuin myös tämä nyt jos tai ovat sitten vain vielä jo ole olla olisi olivat ollut joka jotka jossa
jonka mitä mikä missä milloin miksi miten kuka kuinka monta paljon vähän enemmän kaikki kaikkien muu muut toinen toisen sama nämä ne niitä
sen sitä siitä sille siihen tämän tätä tästä minä sinä me te he minun hänen meidän heidän itse en et emme ette eivät ettei koska vaikka
kunnes ennen jälkeen aikana kanssa ilman välillä yli alle kautta mukaan voi voivat voimme voidaan pitää täytyy saa saadaan saamme jää
jäljellä yksi kaksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen sata tuhat ensin ensimmäinen toiseksi kolmas lopuksi
yhteensä määrä luku luvun luvut summa lasketaan laskemme laskea lisätään vähennetään kerrotaan jaetaan tulos vastaus ongelma ratkaisu
yhtälö arvo vaihe esimerkki puolet kertaa päivä päivää vuotta tuntia omenaa rahaa eli siis joten kuitenkin tiedämme tarkoittaa
""",
    "pl": """
i w na z się nie to że do jest o jak ale po co tak za od go czy przez dla już jego jej ich tym tego tej te ten ta być był była było były
są będzie będą ma mają może można możemy musi musimy tylko jeszcze też także oraz lub albo więc zatem dlatego ponieważ bo gdy kiedy gdzie
jeśli jeżeli który która które których którym kto ile ilu bardzo więcej mniej wszystko wszystkie wszystkich inne innych każdy każda każde
coś nic nikt teraz potem następnie najpierw zawsze nigdy tutaj tam ja ty on ona ono my wy oni one mi mnie mu nam nas im nim nich mój moja
swój swoje nasz przed pod nad między bez podczas przy u ze we ku jeden jedna dwa dwie trzy cztery pięć sześć siedem osiem dziewięć
dziesięć sto tysiąc pierwszy pierwsza drugi druga trzeci ostatni liczba liczby liczbę suma sumę dodajemy dodać odejmujemy odjąć mnożymy
dzielimy obliczyć obliczmy obliczamy wynik wynosi odpowiedź zadanie zadania rozwiązanie równanie wartość krok przykład równa równe połowa
razy dzień dni lat godzin jabłek pieniędzy razem łącznie otrzymujemy wiemy oznacza czyli zostało pozostaje aby żeby jednak używa używać
należy jako jedynie następujące następujący poprzedni konieczne możliwe prawda fałsz nazwa plik pliku lecz podany podanego innego tzn np
""",
    "cs": """
a v na se je že to s z do o i ale jak za po od pro co tak nebo který která které kteří kterou byl byla bylo byly jsou být bude budou má
mají může můžeme musí musíme jen ještě také proto protože když kdy kde kdo kolik jestli pokud aby už jeho její jejich tento tato toto tyto
ten ta ty těch tom tomu tím velmi více méně vše všechny všech jiné jiný každý každá každé něco nic nikdo nyní teď potom pak nejprve
nejdříve vždy nikdy zde tam já my vy on ona ono oni mi mě mu nám nás jim nich můj svůj své náš před pod nad mezi bez během při u k ke ve
ze jeden jedna dva dvě tři čtyři pět šest sedm osm devět deset sto tisíc první druhý druhá třetí poslední číslo čísla čísel součet sečteme
přičteme odečteme vynásobíme vydělíme spočítat spočítáme vypočítáme vypočítat výsledek odpověď úloha úlohy řešení rovnice hodnota krok
příklad rovná polovina krát den dní let hodin jablek peněz celkem celkový dostaneme víme znamená tedy takže však zbývá použít používá
následující předchozí nutné možné pravda nepravda název soubor souboru jako případě místo některé
""",
    "ro": """
și în de la cu pe un o este că nu se din care sunt pentru mai au fost al a ale ai lui ei le ce sau dar prin după când unde cum cât câte
câți câtă dacă deci astfel atunci apoi acum aici acolo foarte mult multe mulți puțin tot toate toți alt alte alți același aceeași fiecare
unii unele niciun nimic ceva acest această acesta aceasta acești aceste acel acea acele eu tu el ea noi voi ele îi îl îmi ne vă își lor
meu mea său sa săi nostru noastră era erau fi fiind va vor ar avea avem are aveau poate pot putem putea trebuie face facem fără între până
spre sub peste lângă înainte împotriva deoarece fiindcă deși ca să doi două trei patru cinci șase șapte opt nouă zece unsprezece douăzeci
sută mie primul prima doilea doua treilea ultimul număr numărul numere suma adunăm scădem înmulțim împărțim calcula calculăm rezultat
rezultatul răspuns răspunsul problema soluția ecuația valoare valoarea pas pasul exemplu egal egală jumătate dublu parte ori zi zile ani
ore mere bani total obținem știm înseamnă rămân rămâne folosi utilizați utilizează următorul următoarea precedent necesar posibil adevărat
fals nume numele fișier
""",
    "hu": """
az és hogy nem is egy ez azt de ha meg már csak van volt vannak voltak lesz lenne mint vagy még amit ami amely amelyek aki akik ahol
amikor mert így akkor most ezért tehát mivel ezt ezek azok ennek annak ebben abban erre arra itt ott nagyon sok sokkal több kevesebb
minden mindegyik más másik ugyanaz semmi valami valaki én te ő mi ti ők neki nekem nekünk nekik engem őt minket maga saját mit mennyi hány
hol mikor miért hogyan melyik után előtt között alatt felett nélkül által szerint számára kell kellett lehet tud tudjuk tudunk kap kapunk
marad maradt két kettő három négy öt hat hét nyolc kilenc tíz száz ezer első második harmadik utolsó először majd végül szám számot számok
összeg összege összesen összeadjuk kivonjuk szorozzuk osztjuk számoljuk számítsuk kiszámítjuk eredmény eredménye válasz feladat megoldás
egyenlet érték értéke lépés példa egyenlő fele kétszer szer nap év óra alma almát pénz jelenti azaz viszont
""",
    "tr": """
ve bir bu için ile da de ki ne ama çok daha olan olarak gibi kadar sonra önce en her mi mı mu mü ya veya değil var yok şu biz siz ben sen
o onlar onun bunun bunu onu bize bizim benim senin sizin kendi ise eğer çünkü ancak fakat hem hiç şey bazı bütün tüm tane toplam toplamda
olur oldu olduğu olduğunu olması oluyor olacak eder ediyor etmek edelim yapar yapmak yaptı alır aldı verir verdi kalır kaldı kalan kaç
hangi nasıl neden nerede zaman şimdi ilk ardından böylece dolayısıyla yani göre üzerinde altında arasında içinde dışında doğru karşı bile
sadece diğer aynı fazla az iki üç dört beş altı yedi sekiz dokuz yirmi otuz yüz bin birinci ikinci üçüncü son sayı sayısı sayısını sayıyı
toplamı toplarız çıkarırız çarparız böleriz hesaplayalım hesaplamak hesaplarız sonuç sonucu cevap cevabı soru problem çözüm denklem değer
değeri adım örnek eşit eşittir yarısı katı kez gün yıl saat elma para buluruz elde biliyoruz demektir gerekir gereken
""",
    "id": """
yang dan di untuk dengan adalah ini itu dari pada ke kita jumlah maka jadi akan tidak atau sebagai oleh karena juga sudah telah lebih
kurang dapat bisa kami mereka saya anda dia ia kamu aku setiap berapa dalam antara setelah sebelum sampai hingga tentang terhadap tanpa
bahwa seperti jika bila kalau ketika saat hanya semua seluruh lagi masih ada bukan belum sangat banyak sedikit lain lainnya sama beberapa
para sang apa siapa mana kapan mengapa bagaimana apakah sehingga agar supaya namun tetapi tapi meskipun sedangkan sambil lalu kemudian
selanjutnya pertama kedua ketiga terakhir sekarang nanti sini sana situ tersebut yaitu yakni ialah merupakan menjadi memiliki mempunyai
membeli dibeli menjual perlu harus mari satu dua tiga empat lima enam tujuh delapan sembilan sepuluh sebelas belas puluh ratus ribu
bilangan angka hitung menghitung dihitung tambah tambahkan menambahkan kurangi mengurangi kali kalikan mengalikan bagi membagi hasil
hasilnya jawaban jawabannya soal masalah penyelesaian persamaan nilai langkah contoh setengah hari tahun jam apel buah uang totalnya sisa
tersisa tahu berarti artinya diketahui jangan adanya hanyalah gunakan menggunakan digunakan berikut berikutnya sebelumnya mungkin benar
salah nama memberikan mendapatkan terdapat masing pertanyaan
""",
    "vi": """
và của là có cho không được trong một các với những này người để khi đã đến từ thì đó ra ở vào như về cũng còn nhiều hơn phải nên nếu sẽ
bị tại theo sau trước trên dưới giữa mà vì do đang rất lại chỉ mỗi mọi tất cả cùng hay hoặc nhưng bởi tôi bạn anh chị em ông bà nó chúng
ta họ mình ai gì nào đâu sao bao nhiêu mấy đây kia ấy vậy thế rồi nữa hãy cần tính tổng số hiệu tích thương cộng trừ nhân chia bằng kết
quả đáp án bài toán lời giải phương trình giá trị bước ví dụ hai ba bốn năm sáu bảy tám chín mười trăm nghìn đầu tiên thứ nhất cuối nửa
gấp đôi lần ngày giờ táo tiền biết nghĩa suy tìm thêm bớt mua bán
""",
}

SHARED = """
die dies dice war wars hat hats bin bins hay plus son sons pour main pain chat car tout fin sort lit port note notes date dates sol mole
moles fare sale sole dove due era solo ha pro pan mine tale hoe wet met door den dens fast gut gift rat rock stark bald wand hell arm mild
dare rare care mate male base case fine par sin tan cos sec log max min mod si mi med var todo usa fur pie pies ton tons sang ska bra fall
fond font dent tank mark bath barn bad glass sugar salt sum summer hen hens ham hams via versus etc data alpha beta gamma delta sigma
lambda phi mu tau rho pi eta nu int str def elif print return float list dict len range append input void null true false none self vector
matrix area formula normal real final general local original ideal central plural radio video hotel animal metal hospital capital material
natural manual visual usual digital signal liter liters meter meters gram grams kilo idea extra regular rectangular similar system format
program problem problems type mere pot vet alt tag num op os sa ci ir um na wat sans dir later provided lst ser cat possible ed er
question po sub dev falls com ut favor ma ar opt timer han co tak face fire col ty ra stata doi cent pod till dos ada ke ia jam io np nap
ge chose mint fi elk ca ea dont ses comment non options option information description version error mode
"""
"""Words of two or more languages, or of formulas and code: they speak for none. Most are English words that another list would have."""

ENDINGS = {
    "es": "ción ciones amos emos imos ando iendo mente idad aron ieron aría ería",
    "pt": "ção ções amos emos ando endo mente idade aram eram aria",
    "it": "zione zioni iamo ando endo mente arono ata ità",
    "fr": "eaux euse aient erons eront issons quons geons onnent",
    "de": "ungen lich lichen keit heit schaft ieren iert",
    "nl": "lijk lijke ingen heid heden",
    "id": "kannya annya nya kan",
    "pl": "ować ości ście ami ymi ych amy emy",
    "cs": "ování osti ých ými íme",
    "ro": "ție ții ului ilor ește ând",
    "fi": "ssa ssä sta stä lla llä lta ltä taan tään",
    "hu": "ban ben nak nek ból ből tól től juk jük",
    "tr": "lar ler dır dir nın nin lık iyor ıyor",
    "sv": "ningen arna erna",
    "da": "ningen erne",
}
"""Endings that make a longer word probable; a sentence is never told by them alone."""

LETTERS = {
    "es": "áéíóúñü",
    "fr": "àâæçéèêëîïôœùûÿ",
    "de": "äöüß",
    "pt": "áâãàçéêíóôõú",
    "it": "àèéìòù",
    "nl": "ëïé",
    "sv": "åäöé",
    "da": "æøåéö",
    "fi": "äöå",
    "pl": "ąćęłńóśźż",
    "cs": "áčďéěíňóřšťúůýž",
    "ro": "ăâîșțşţ",
    "hu": "áéíóöőúüű",
    "tr": "çğıöşüâ",
    "vi": "àáâãèéêìíòóôõùúăđĩũơưý" + "".join(map(chr, range(0x1EA0, 0x1EFA))),
}
"""Letters beyond a to z: a word that no list has is taken for a language that has all of its letters."""
